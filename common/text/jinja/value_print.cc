// str() and repr() of template values, as Python prints them. See value_ops.h.
#include <utf8proc.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>

#include "common/text/jinja/big_integer.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/value_ops.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {

bool IsPrintable(char32_t value) {
  if (value == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(value))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

namespace {

void AppendHex(char prefix, uint32_t value, int digits, TextBuilder* out) {
  *out += '\\';
  *out += prefix;
  for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4) {
    *out += "0123456789abcdef"[(value >> shift) & 15];
  }
}

void AppendCharEscape(char32_t c, TextBuilder* out) {
  if (c < 0x100) {
    AppendHex('x', c, 2, out);
  } else if (c < 0x10000) {
    AppendHex('u', c, 4, out);
  } else {
    AppendHex('U', c, 8, out);
  }
}

void AppendString(std::string_view text, TextBuilder* out) {
  const bool single = text.find('\'') != std::string_view::npos;
  const bool use_double = single && text.find('"') == std::string_view::npos;
  const char quote = use_double ? '"' : '\'';
  *out += quote;
  while (!text.empty()) {
    const DecodedChar c = DecodeUtf8(text);
    if (c.value == static_cast<char32_t>(quote) || c.value == '\\') {
      *out += '\\';
      *out += static_cast<char>(c.value);
    } else if (c.value == '\n') {
      *out += "\\n";
    } else if (c.value == '\r') {
      *out += "\\r";
    } else if (c.value == '\t') {
      *out += "\\t";
    } else if (IsPrintable(c.value)) {
      *out += text.substr(0, c.length);
    } else {
      AppendCharEscape(c.value, out);
    }
    text.remove_prefix(c.length);
  }
  *out += quote;
}

// Namespaces can hold one another in a ring.
constexpr int kMaxPrintDepth = 600;

void AppendRepr(const Value& value, int depth, TextBuilder* out);

void AppendDict(const Dict& dict, int depth, TextBuilder* out) {
  *out += '{';
  const char* separator = "";
  for (const Dict::Entry& entry : dict.entries()) {
    *out += separator;
    separator = ", ";
    AppendRepr(entry.first, depth, out);
    *out += ": ";
    AppendRepr(entry.second, depth, out);
  }
  *out += '}';
}

void AppendList(const List& list, int depth, TextBuilder* out) {
  *out += list.is_tuple ? '(' : '[';
  const char* separator = "";
  for (const Value& item : list.items) {
    *out += separator;
    separator = ", ";
    AppendRepr(item, depth, out);
  }
  if (list.is_tuple && list.items.size() == 1) *out += ',';
  *out += list.is_tuple ? ')' : ']';
}

void AppendRepr(const Value& value, int depth, TextBuilder* out) {
  ChargeSteps(1);
  if (depth > kMaxPrintDepth) FailLimit("value nested too deeply to print");
  if (value.is_string()) {
    if (value.is_markup()) *out += "Markup(";
    AppendString(value.as_string(), out);
    if (value.is_markup()) *out += ')';
  } else if (value.is_undefined()) {
    *out += "Undefined";
  } else if (value.is_none()) {
    *out += "None";
  } else if (value.is_bool()) {
    *out += value.as_bool() ? "True" : "False";
  } else if (value.is_int()) {
    *out += IntegerText(value);
  } else if (value.is_float()) {
    *out += FloatRepr(value.as_double());
  } else if (value.is_list()) {
    AppendList(value.as_list(), depth + 1, out);
  } else if (value.is_dict()) {
    AppendDict(value.as_dict(), depth + 1, out);
  } else if (value.is_namespace()) {
    *out += "<Namespace ";
    AppendDict(value.as_namespace().attributes, depth + 1, out);
    *out += '>';
  } else {
    *out += value.as_object().Repr();
  }
}

}  // namespace

std::string FloatRepr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  // "-d.ddde+XX": digits and exponent, laid out again as float.__repr__ does.
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  std::string out;
  if (text.front() == '-') {
    out += '-';
    text.remove_prefix(1);
  }
  const size_t e = text.find('e');
  std::string digits(text.substr(0, 1));
  if (e > 2) digits += text.substr(2, e - 2);
  int exponent = 0;
  const char* exponent_begin = text.data() + e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(exponent_begin, text.data() + text.size(), exponent);
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (digits.size() > 1) out += "." + digits.substr(1);
    out += exponent < 0 ? "e-" : "e+";
    const std::string magnitude = std::to_string(std::abs(exponent));
    return out + (magnitude.size() < 2 ? "0" : "") + magnitude;
  }
  if (exponent < 0) {
    out += "0.";
    out.append(static_cast<size_t>(-exponent - 1), '0');
    return out + digits;
  }
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) {
    out += digits;
    out.append(whole - digits.size(), '0');
    return out + ".0";
  }
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::optional<double> FloatFromText(std::string_view text) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  double value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  if (parsed.ec == std::errc::result_out_of_range)
    return std::strtod(std::string(text).c_str(), nullptr);
  return value;
}

std::string ToString(const Value& value) {
  if (value.is_string()) {
    ChargeSize(value.as_string().size());
    return value.as_string();
  }
  if (value.is_undefined()) return {};
  return Repr(value);
}

std::string Repr(const Value& value) {
  TextBuilder out;
  AppendRepr(value, 0, &out);
  return out.Take();
}

std::string AsciiRepr(const Value& value) {
  TextBuilder out;
  const std::string repr = Repr(value);
  for (std::string_view rest = repr; !rest.empty();) {
    const DecodedChar c = DecodeUtf8(rest);
    if (c.value < 0x80) {
      out += rest[0];
    } else {
      AppendCharEscape(c.value, &out);
    }
    rest.remove_prefix(c.length);
  }
  return out.Take();
}

}  // namespace pingti::text::jinja
