// json.dumps. See value_ops.h.
#include <algorithm>
#include <cmath>
#include <string>

#include "common/text/jinja/big_integer.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/value_ops.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

void AppendEscape(uint32_t unit, TextBuilder* out) {
  *out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) *out += "0123456789abcdef"[(unit >> shift) & 15];
}

void AppendJsonString(std::string_view text, bool ensure_ascii, TextBuilder* out) {
  *out += '"';
  while (!text.empty()) {
    const DecodedChar c = DecodeUtf8(text);
    const std::string_view bytes = text.substr(0, c.length);
    text.remove_prefix(c.length);
    constexpr std::string_view kShort = "\"\"\\\\\nn\rr\tt\ff\bb";
    const size_t known = c.value < 0x80 ? kShort.find(static_cast<char>(c.value)) : 1;
    if (c.value < 0x80 && known != std::string_view::npos && known % 2 == 0) {
      *out += '\\';
      *out += kShort[known + 1];
    } else if (c.value < 0x20 || (ensure_ascii && c.value >= 0x7F && c.value < 0x10000)) {
      AppendEscape(c.value, out);
    } else if (ensure_ascii && c.value >= 0x10000) {
      const char32_t rest = c.value - 0x10000;
      AppendEscape(0xD800 + (rest >> 10), out);
      AppendEscape(0xDC00 + (rest & 0x3FF), out);
    } else {
      *out += bytes;
    }
  }
  *out += '"';
}

std::string JsonNumber(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return FloatRepr(value);
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, TextBuilder* out) : style_(style), out_(out) {}

  void Write(const Value& value, int level) {
    ChargeSteps(1);
    if (value.is_string()) {
      AppendJsonString(value.as_string(), style_.ensure_ascii, out_);
    } else if (value.is_none()) {
      *out_ += "null";
    } else if (value.is_bool()) {
      *out_ += value.as_bool() ? "true" : "false";
    } else if (value.is_int()) {
      *out_ += IntegerText(value);
    } else if (value.is_float()) {
      *out_ += JsonNumber(value.as_double());
    } else if (value.is_list()) {
      WriteList(value.as_list(), level);
    } else if (value.is_dict()) {
      WriteDict(value.as_dict(), level);
    } else {
      Fail("Object of type " + std::string(TypeName(value)) + " is not JSON serializable");
    }
  }

 private:
  void Break(int level) {
    if (!style_.indent) return;
    *out_ += '\n';
    for (int i = 0; i < level; ++i) *out_ += *style_.indent;
  }

  void WriteList(const List& list, int level) {
    *out_ += '[';
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) *out_ += style_.item_separator;
      Break(level + 1);
      Write(list.items[i], level + 1);
    }
    if (!list.items.empty()) Break(level);
    *out_ += ']';
  }

  void WriteDict(const Dict& dict, int level) {
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto* a, const auto* b) { return Less(a->first, b->first); });
    }
    *out_ += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) *out_ += style_.item_separator;
      Break(level + 1);
      WriteKey(entries[i]->first);
      *out_ += style_.key_separator;
      Write(entries[i]->second, level + 1);
    }
    if (!entries.empty()) Break(level);
    *out_ += '}';
  }

  void WriteKey(const Value& key) {
    std::string text;
    if (key.is_string()) {
      text = key.as_string();
    } else if (key.is_list() || key.is_object() || key.is_undefined()) {
      Fail("keys must be str, int, float, bool or None, not " + std::string(TypeName(key)));
    } else {
      TextBuilder written;
      JsonWriter(style_, &written).Write(key, 0);
      text = written.Take();
    }
    AppendJsonString(text, style_.ensure_ascii, out_);
  }

  const JsonStyle& style_;
  TextBuilder* out_;
};

}  // namespace

std::string DumpJson(const Value& value, const JsonStyle& style) {
  TextBuilder out;
  JsonWriter(style, &out).Write(value, 0);
  return out.Take();
}

}  // namespace pingti::text::jinja
