// Filters on text, and those that make text of anything. See builtins.h.
#include <algorithm>
#include <cstdio>
#include <utility>

#include "common/text/jinja/builtins.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/interpreter.h"
#include "common/text/jinja/markup.h"
#include "common/text/jinja/pretty_print.h"
#include "common/text/jinja/text_wrap.h"
#include "common/text/jinja/value_ops.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

Value Center(Interpreter* interpreter, const Value& input, const Args& args) {
  const std::string text = ToString(input);
  const int64_t width = BoundArgs("center", args, {"width"}).Int(0, 80);
  const int64_t padding = std::max<int64_t>(0, width - Length(Value(text)));
  ChargeSize(static_cast<size_t>(padding));
  // CPython puts the odd space on the left when the width is odd.
  const int64_t left = padding / 2 + (padding & width & 1);
  return Alike(input, Value(std::string(static_cast<size_t>(left), ' ') + text +
                            std::string(static_cast<size_t>(padding - left), ' ')));
}

std::vector<std::string_view> SplitLines(std::string_view text) {
  ChargeSize(text.size() * sizeof(std::string_view));
  std::vector<std::string_view> lines;
  while (true) {
    const size_t newline = text.find('\n');
    lines.push_back(text.substr(0, newline));
    if (newline == std::string_view::npos) return lines;
    text.remove_prefix(newline + 1);
  }
}

Value Indent(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("indent", args, {"width", "first", "blank"});
  std::string indent(4, ' ');
  if (bound.Has(0)) {
    const Value& width = bound.Required(0);
    if (width.is_string()) {
      indent = width.as_string();
    } else {
      const auto count = static_cast<size_t>(std::max<int64_t>(0, bound.Int(0, 4)));
      ChargeSize(count);
      indent.assign(count, ' ');
    }
  }
  const bool blank = bound.Bool(2, false);
  RequireDefined(input);
  if (!input.is_string()) Fail("indent needs a string, not " + std::string(TypeName(input)));
  const std::string& text = input.as_string();
  const std::vector<std::string_view> lines = SplitLines(text);
  size_t added = 0;
  if (__builtin_mul_overflow(lines.size(), indent.size(), &added)) FailLimit("indent is too large");
  ChargeSize(text.size() + added);
  std::string out = bound.Bool(1, false) ? indent : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      out += '\n';
      if (blank || !lines[i].empty()) out += indent;
    }
    out += lines[i];
  }
  return Alike(input, Value(std::move(out)));
}

Value Replace(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("replace", args, {"old", "new", "count"});
  const bool counted = bound.Has(2) && !bound.Required(2).is_none();
  std::string out = ReplaceAll(ToString(input), ToString(bound.Required(0)),
                               ToString(bound.Required(1)), counted ? bound.Int(2, -1) : -1);
  return Value(std::move(out));
}

Value Trim(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("trim", args, {"chars"});
  std::optional<std::string> chars;
  if (bound.Has(0) && !bound.Required(0).is_none()) chars = bound.String(0);
  return Alike(input, Value(Strip(ToString(input), chars, true, true)));
}

Value Truncate(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("truncate", args, {"length", "killwords", "end", "leeway"});
  const int64_t length = bound.Int(0, 255);
  const bool kill_words = bound.Bool(1, false);
  const Value end = bound.Or(2, Value("..."));
  const int64_t leeway = bound.Has(3) && !bound.Required(3).is_none() ? bound.Int(3, 5) : 5;
  const int64_t end_length = Length(end);
  if (length < end_length) Fail("expected length >= " + std::to_string(end_length));
  if (Length(input) <= length + leeway) return input;
  if (!input.is_string()) Fail("truncate needs a string, not " + std::string(TypeName(input)));
  const std::vector<char32_t> chars = ToChars(input.as_string());
  const std::string kept = FromChars(chars, 0, static_cast<size_t>(length - end_length));
  const size_t space = kill_words ? std::string::npos : kept.rfind(' ');
  return Arithmetic(BinaryOp::kAdd, Alike(input, Value(kept.substr(0, space))), end);
}

Value Title(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("title", args, {});
  std::string out;
  bool starts_word = true;
  for (const char32_t c : ToChars(ToString(input))) {
    std::string one;
    AppendUtf8(c, &one);
    out += starts_word ? ToUpper(one) : ToLower(one);
    starts_word = c < 0x80 ? std::string_view("-([{< \t\n\r\f\v").find(static_cast<char>(c)) !=
                                 std::string_view::npos
                           : IsWhiteSpace(c);
  }
  return Value(std::move(out));
}

Value Wordcount(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("wordcount", args, {});
  int64_t words = 0;
  bool inside = false;
  for (const char32_t c : ToChars(ToString(input))) {
    const bool word = IsWordChar(c);
    if (word && !inside) ++words;
    inside = word;
  }
  return Value(words);
}

Value ToJson(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = bound.Bool(0, false);
  style.sort_keys = bound.Bool(3, false);
  if (bound.Has(1) && !bound.Required(1).is_none()) {
    const Value& indent = bound.Required(1);
    style.indent =
        indent.is_string()
            ? indent.as_string()
            : std::string(static_cast<size_t>(std::clamp<int64_t>(bound.Int(1, 0), 0, 1000)), ' ');
    style.item_separator = ",";
  }
  if (bound.Has(2) && !bound.Required(2).is_none()) {
    const std::vector<Value> pair = Iterate(bound.Required(2));
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      Fail("tojson: separators must be a pair of strings");
    }
    style.item_separator = pair[0].as_string();
    style.key_separator = pair[1].as_string();
  }
  return Value(DumpJson(input, style));
}

Value Urlencode(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("urlencode", args, {});
  const auto quote = [](const Value& value, bool query) {
    TextBuilder out;
    for (const char c : ToString(value)) {
      const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                         std::string_view("_.-~").find(c) != std::string_view::npos;
      char escaped[4];
      std::snprintf(escaped, sizeof(escaped), "%%%02X", static_cast<unsigned char>(c));
      if (plain || (c == '/' && !query)) {
        out += c;
      } else {
        out += query && c == ' ' ? "+" : escaped;
      }
    }
    return out.Take();
  };
  if (!input.is_dict() && !input.is_list()) return Value(quote(input, false));
  TextBuilder out;
  const auto add = [&](const Value& key, const Value& value) {
    if (!out.empty()) out += '&';
    out += quote(key, true) + "=" + quote(value, true);
  };
  if (input.is_dict()) {
    for (const auto& [key, value] : input.as_dict().entries()) add(key, value);
  } else {
    for (const Value& pair : Iterate(input)) {
      const std::vector<Value> items = Iterate(pair);
      if (items.size() != 2) Fail("urlencode needs pairs of key and value");
      add(items[0], items[1]);
    }
  }
  return Value(out.Take());
}

Value Pprint(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("pprint", args, {});
  return Value(PrettyPrint(input));
}

Value Wordwrap(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("wordwrap", args,
                        {"width", "break_long_words", "wrapstring", "break_on_hyphens"});
  RequireDefined(input);
  if (!input.is_string()) Fail("wordwrap needs a string, not " + std::string(TypeName(input)));
  const WrapStyle style{.width = bound.Int(0, 79),
                        .break_long_words = bound.Bool(1, true),
                        .break_on_hyphens = bound.Bool(3, true)};
  const bool has_separator = bound.Has(2) && Truth(bound.Required(2));
  const std::string separator = has_separator ? bound.String(2) : "\n";
  TextBuilder out;
  bool first = true;
  for (const std::string_view text : LinesOf(input.as_string(), false)) {
    if (!std::exchange(first, false)) out += separator;
    AppendWrapped(text, style, separator, &out);
  }
  return Value(out.Take());
}

Value Format(Interpreter* interpreter, const Value& input, const Args& args) {
  if (!args.positional.empty() && !args.keyword.empty()) {
    Fail("can't handle positional and keyword arguments at the same time");
  }
  Value values = Value::MakeTuple(args.positional);
  if (!args.keyword.empty()) {
    Dict named;
    for (const auto& [name, value] : args.keyword) named.Set(Value(name), value);
    values = Value(std::make_shared<const Dict>(std::move(named)));
  }
  return PercentFormat(input.is_string() ? input : Value(ToString(input)), values);
}

Value Default(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("default", args, {"default_value", "boolean"});
  const bool replaced = input.is_undefined() || (bound.Bool(1, false) && !Truth(input));
  return replaced ? bound.Or(0, Value("")) : input;
}

template <std::string (*convert)(std::string_view)>
Value ConvertInput(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("filter", args, {});
  return Alike(input, Value(convert(ToString(input))));
}

Value String(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("string", args, {});
  return input.is_string() ? input : Value(ToString(input));
}

constexpr FilterEntry kTextFilters[] = {
    {"capitalize", ConvertInput<Capitalize>},
    {"center", Center},
    {"d", Default},
    {"default", Default},
    {"format", Format},
    {"indent", Indent},
    {"lower", ConvertInput<ToLower>},
    {"pprint", Pprint},
    {"replace", Replace},
    {"string", String},
    {"title", Title},
    {"tojson", ToJson},
    {"trim", Trim},
    {"truncate", Truncate},
    {"upper", ConvertInput<ToUpper>},
    {"urlencode", Urlencode},
    {"wordcount", Wordcount},
    {"wordwrap", Wordwrap},
};

}  // namespace

const FilterEntry* FindTextFilter(std::string_view name) {
  for (const FilterEntry& entry : kTextFilters) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

}  // namespace pingti::text::jinja
