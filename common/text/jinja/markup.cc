// See markup.h.
#include "common/text/jinja/markup.h"

#include <utility>

#include "common/text/jinja/value_ops.h"

namespace pingti::text::jinja {

std::string EscapeHtml(std::string_view text) {
  TextBuilder out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out.Take();
}

std::string EscapedText(const Value& value) {
  std::string text = ToString(value);
  return value.is_markup() ? text : EscapeHtml(text);
}

Value Alike(const Value& self, Value result) {
  if (!self.is_markup()) return result;
  if (result.is_string()) return Value::MakeMarkup(ToString(result));
  if (!result.is_list()) return result;
  std::vector<Value> items = Iterate(result);
  for (Value& item : items) item = Alike(self, std::move(item));
  return result.as_list().is_tuple ? Value::MakeTuple(std::move(items))
                                   : Value::MakeList(std::move(items));
}

}  // namespace pingti::text::jinja
