// json.dumps and the % operator of strings. See value_ops.h.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "common/text/jinja/error.h"
#include "common/text/jinja/markup.h"
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
      *out_ += std::to_string(value.as_int());
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

// One conversion of a % format: flags, width, precision, type.
struct Conversion {
  bool in_markup = false;  // text is escaped
  std::string flags;
  int width = 0;
  int precision = -1;
  char type = 0;
};

double RequireNumber(const Value& value, char type) {
  if (!value.is_number()) {
    RequireDefined(value);
    Fail(std::string("%") + type + " format: a real number is required, not " +
         std::string(TypeName(value)));
  }
  return value.as_double();
}

std::string FormatNumber(const Conversion& c, const Value& value) {
  RequireNumber(value, c.type);
  char buffer[512];
  std::string format = "%" + c.flags;
  if (c.width > 0) format += std::to_string(c.width);
  if (c.precision >= 0) format += "." + std::to_string(c.precision);
  if (std::string_view("dixXo").find(c.type) != std::string_view::npos) {
    format += "ll";
    format += c.type;
    const auto number = value.is_int() ? value.as_int() : static_cast<int64_t>(value.as_double());
    std::snprintf(buffer, sizeof(buffer), format.c_str(), static_cast<long long>(number));
  } else {
    format += c.type;
    std::snprintf(buffer, sizeof(buffer), format.c_str(), value.as_double());
  }
  return buffer;
}

std::string FormatText(const Conversion& c, const Value& value) {
  const Value text = c.type == 's' ? value : Value(Repr(value));
  std::vector<char32_t> chars = ToChars(c.in_markup ? EscapedText(text) : ToString(text));
  if (c.precision >= 0 && chars.size() > static_cast<size_t>(c.precision)) {
    chars.resize(static_cast<size_t>(c.precision));
  }
  std::string out = FromChars(chars, 0, chars.size());
  const auto width = static_cast<size_t>(c.width);
  if (chars.size() < width) {
    const std::string padding(width - chars.size(), ' ');
    out = c.flags.find('-') != std::string::npos ? out + padding : padding + out;
  }
  return out;
}

// %c: a code point, or a text of one character.
std::string FormatCharacter(const Conversion& c, const Value& value) {
  std::string text;
  if (value.is_string() && Length(value) == 1) {
    text = value.as_string();
  } else if (value.is_int()) {
    const int64_t code = value.as_int();
    if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      Fail("%c arg not in range(0x110000)");
    }
    AppendUtf8(static_cast<char32_t>(code), &text);
  } else {
    Fail("%c requires int or char");
  }
  Conversion as_text = c;
  as_text.type = 's';
  return FormatText(as_text, Value(std::move(text)));
}

int ReadNumber(std::string_view format, size_t* pos) {
  int number = 0;
  for (; *pos < format.size() && format[*pos] >= '0' && format[*pos] <= '9'; ++*pos) {
    number = number * 10 + (format[*pos] - '0');
    if (number > 400) Fail("width or precision of a % format is above 400");
  }
  return number;
}

}  // namespace

std::string DumpJson(const Value& value, const JsonStyle& style) {
  TextBuilder out;
  JsonWriter(style, &out).Write(value, 0);
  return out.Take();
}

Value PercentFormat(const Value& format_value, const Value& args) {
  const std::string_view format = format_value.as_string();
  const bool is_tuple = args.is_list() && args.as_list().is_tuple;
  size_t used = 0;
  const auto next = [&]() -> Value {
    const size_t count = is_tuple ? args.as_list().items.size() : 1;
    if (used >= count) Fail("not enough arguments for format string");
    return is_tuple ? args.as_list().items[used++] : (++used, args);
  };
  TextBuilder out;
  for (size_t pos = 0; pos < format.size();) {
    const char current = format[pos++];
    if (current != '%') {
      out += current;
      continue;
    }
    Conversion c;
    c.in_markup = format_value.is_markup();
    std::optional<Value> named;
    if (pos < format.size() && format[pos] == '(') {
      const size_t close = format.find(')', pos);
      if (close == std::string_view::npos) Fail("incomplete format key");
      if (!args.is_dict()) Fail("format requires a mapping");
      const std::string_view key = format.substr(pos + 1, close - pos - 1);
      const Value* found = args.as_dict().Find(key);
      if (found == nullptr) Fail("'" + std::string(key) + "'");
      named = *found;
      pos = close + 1;
    }
    while (pos < format.size() &&
           std::string_view("-+ #0").find(format[pos]) != std::string_view::npos) {
      c.flags += format[pos++];
    }
    c.width = ReadNumber(format, &pos);
    if (pos < format.size() && format[pos] == '.') {
      ++pos;
      c.precision = ReadNumber(format, &pos);
    }
    if (pos == format.size()) Fail("incomplete format");
    c.type = format[pos++];
    if (c.type == '%') {
      out += '%';
    } else if (c.type == 's' || c.type == 'r') {
      out += FormatText(c, named ? *named : next());
    } else if (c.type == 'c' && !c.in_markup) {
      out += FormatCharacter(c, named ? *named : next());
    } else if (std::string_view("dixXofFeEgG").find(c.type) != std::string_view::npos) {
      out += FormatNumber(c, named ? *named : next());
    } else {
      Fail(std::string("unsupported format character '") + c.type + "'");
    }
  }
  const bool all_used = args.is_dict() || used >= (is_tuple ? args.as_list().items.size() : 1);
  if (!all_used && !(args.is_list() && !is_tuple)) {
    Fail("not all arguments converted during string formatting");
  }
  return Alike(format_value, Value(out.Take()));
}

}  // namespace pingti::text::jinja
