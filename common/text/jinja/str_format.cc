// See str_format.h. Source: Python's "Format Specification Mini-Language".
#include "common/text/jinja/str_format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <utility>

#include "common/text/jinja/big_integer.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/interpreter.h"
#include "common/text/jinja/markup.h"
#include "common/text/jinja/value_ops.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

constexpr int kMaxNumber = 1'000'000;  // of width and precision

struct Spec {
  std::string fill = " ";
  char align = 0;
  char sign = '-';
  bool alternate = false;
  int width = 0;
  char grouping = 0;
  int precision = -1;
  char type = 0;
};

bool IsAlign(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

class SpecReader {
 public:
  explicit SpecReader(std::string_view text) : text_(text), all_(text) {}

  Spec Read() {
    Spec spec;
    const size_t fill = text_.empty() ? 0 : DecodeUtf8(text_).length;
    const bool has_fill = text_.size() > fill && IsAlign(text_[fill]);
    if (has_fill) {
      spec.fill = text_.substr(0, fill);
      spec.align = text_[fill];
      text_.remove_prefix(fill + 1);
    } else if (!text_.empty() && IsAlign(text_[0])) {
      spec.align = Take();
    }
    if (Next("+- ")) spec.sign = Take();
    if (Next("#")) spec.alternate = Take() == '#';
    if (Next("0") && !has_fill) {
      Take();
      spec.fill = "0";
      if (spec.align == 0) spec.align = '=';
    }
    spec.width = Number(0);
    if (Next(",_")) spec.grouping = Take();
    if (Next(".")) {
      Take();
      spec.precision = Number(-1);
      if (spec.precision < 0) Fail("Format specifier missing precision");
    }
    if (text_.size() == 1) spec.type = Take();
    if (!text_.empty()) Fail("Invalid format specifier '" + std::string(all_) + "'");
    return spec;
  }

 private:
  bool Next(std::string_view any) const {
    return !text_.empty() && any.find(text_[0]) != std::string_view::npos;
  }
  char Take() {
    const char c = text_[0];
    text_.remove_prefix(1);
    return c;
  }
  int Number(int otherwise) {
    if (!Next("0123456789")) return otherwise;
    int number = 0;
    while (Next("0123456789")) {
      number = number * 10 + (Take() - '0');
      if (number > kMaxNumber) FailLimit("a width or precision above 1000000 in a format");
    }
    return number;
  }

  std::string_view text_;
  const std::string_view all_;
};

// `text` in its place of the width; `sign` is what padding of align '=' comes behind.
std::string Padded(const Spec& spec, const std::string& sign, const std::string& text, char align) {
  const auto length = static_cast<size_t>(Length(Value(sign + text)));
  const size_t padding = std::max(static_cast<size_t>(spec.width), length) - length;
  if (spec.align != 0) align = spec.align;
  size_t left = 0;
  if (align == '>' || align == '=') left = padding;
  if (align == '^') left = padding / 2;
  ChargeSteps(padding / 16);
  TextBuilder out;
  if (align == '=') out += sign;
  for (size_t i = 0; i < left; ++i) out += spec.fill;
  if (align != '=') out += sign;
  out += text;
  for (size_t i = left; i < padding; ++i) out += spec.fill;
  return out.Take();
}

// Separators between groups of `size` digits of the whole part. Zeros that fill the width are
// digits, too; `num_around` characters of it are for what stands around the digits.
std::string Grouped(const Spec& spec, const std::string& digits, size_t size, size_t num_around) {
  if (spec.grouping == 0) return digits;
  const size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  const size_t taken = num_around + digits.size() - whole;
  const auto width = static_cast<size_t>(spec.width);
  size_t count = whole;
  if (spec.fill == "0" && spec.align == '=' && whole > 0 && width > taken) {
    // The fewest digits that, with a separator before each further group, are as wide as that.
    const size_t wanted = width - taken;
    count = std::max(whole, wanted / (size + 1) * size + std::max<size_t>(wanted % (size + 1), 1));
  }
  TextBuilder out;
  for (size_t i = 0; i < count; ++i) {
    if (i > 0 && (count - i) % size == 0) out += spec.grouping;
    out += i < count - whole ? '0' : digits[i - (count - whole)];
  }
  out += digits.substr(whole);
  return out.Take();
}

std::string SignOf(const Spec& spec, bool negative) {
  if (negative) return "-";
  return spec.sign == '-' ? "" : std::string(1, spec.sign);
}

[[noreturn]] void FailCode(const Spec& spec, const Value& value) {
  Fail("Unknown format code '" + std::string(1, spec.type) + "' for object of type '" +
       std::string(TypeName(value)) + "'");
}

// Of a whole number's digits.
std::string Scientific(const std::string& digits) {
  const std::string exponent = std::to_string(digits.size() - 1);
  const size_t kept = std::max<size_t>(digits.find_last_not_of('0') + 1, 1);
  std::string out = digits.substr(0, 1);
  if (kept > 1) out += "." + digits.substr(1, kept - 1);
  return out + "e+" + (exponent.size() < 2 ? "0" : "") + exponent;
}

std::string FormatFloat(const Spec& spec, const Value& value) {
  double number = value.as_double();
  const bool negative = std::signbit(number) && !std::isnan(number);
  number = std::fabs(number);
  std::string digits;
  const char type = spec.type == '%' ? 'f' : spec.type == 'n' || spec.type == 0 ? 'g' : spec.type;
  if (std::isinf(number) || std::isnan(number)) {
    digits = std::isnan(number) ? "nan" : "inf";
    if (type == 'F' || type == 'E' || type == 'G') {
      std::transform(digits.begin(), digits.end(), digits.begin(),
                     [](char c) { return static_cast<char>(c - 'a' + 'A'); });
    }
  } else if (spec.type == 0 && spec.precision < 0) {
    digits = FloatRepr(number);
  } else {
    const int precision = spec.precision < 0 ? 6 : spec.precision;
    ChargeText(static_cast<size_t>(precision) + 400);
    std::string buffer(static_cast<size_t>(precision) + 400, '\0');
    const std::string format = std::string("%") + (spec.alternate ? "#" : "") + ".*" + type;
    if (spec.type == '%') number *= 100.0;
    buffer.resize(static_cast<size_t>(
        std::snprintf(buffer.data(), buffer.size(), format.c_str(), precision, number)));
    digits = std::move(buffer);
    if (spec.type == 0 && digits.find_first_of(".e") == std::string::npos) {
      // Without a type, one digit less than of 'g' fits in front of the point: ".0" comes behind.
      const bool fits = digits.size() < static_cast<size_t>(std::max(precision, 1));
      digits = fits ? digits + ".0" : Scientific(digits);
    }
  }
  const std::string sign = SignOf(spec, negative);
  digits = Grouped(spec, digits, 3, sign.size() + (spec.type == '%' ? 1 : 0));
  if (spec.type == '%') digits += '%';
  return Padded(spec, sign, digits, '>');
}

std::string FormatInteger(const Spec& spec, const Value& value) {
  if (spec.precision >= 0) Fail("Precision not allowed in integer format specifier");
  if (spec.type == 'c') {
    const int64_t number = ClampedInt(value);
    if (number < 0 || number > 0x10FFFF || (number >= 0xD800 && number < 0xE000)) {
      Fail("%c arg not in range(0x110000)");
    }
    std::string text;
    AppendUtf8(static_cast<char32_t>(number), &text);
    return Padded(spec, "", text, '<');
  }
  const int base = spec.type == 'b'                       ? 2
                   : spec.type == 'o'                     ? 8
                   : spec.type == 'x' || spec.type == 'X' ? 16
                                                          : 10;
  std::string digits = IntegerDigits(value, base);
  if (spec.type == 'X') {
    for (char& c : digits) c = c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  std::string sign = SignOf(spec, IsNegative(value));
  if (spec.alternate && base != 10) sign += std::string("0") + spec.type;
  digits = Grouped(spec, digits, base == 10 ? 3 : 4, sign.size());
  return Padded(spec, sign, digits, '>');
}

std::string FormatString(const Spec& spec, const Value& value) {
  if (spec.type != 0 && spec.type != 's') FailCode(spec, value);
  if (spec.align == '=' && spec.fill != "0") {
    Fail("'=' alignment not allowed in string format specifier");
  }
  if (spec.sign != '-') Fail("Sign not allowed in string format specifier");
  if (spec.grouping != 0) Fail(std::string("Cannot specify '") + spec.grouping + "' with 's'.");
  Spec text = spec;
  if (text.align == '=') text.align = '<';  // what the flag 0 means for text
  std::vector<char32_t> chars = ToChars(value.as_string());
  const size_t kept = spec.precision < 0
                          ? chars.size()
                          : std::min(chars.size(), static_cast<size_t>(spec.precision));
  return Padded(text, "", FromChars(chars, 0, kept), '<');
}

// One call of str.format.
class Formatter {
 public:
  // `in_markup`: what comes into the text is escaped.
  Formatter(Interpreter* interpreter, const Args& args, bool in_markup)
      : interpreter_(interpreter), args_(args), in_markup_(in_markup) {}

  std::string Run(std::string_view text, int depth) {
    if (depth > 2) Fail("Max string recursion exceeded");
    TextBuilder out;
    for (size_t pos = 0; pos < text.size(); ++pos) {
      const char c = text[pos];
      if ((c == '{' || c == '}') && pos + 1 < text.size() && text[pos + 1] == c) {
        out += c;
        ++pos;
      } else if (c == '}') {
        Fail("Single '}' encountered in format string");
      } else if (c == '{') {
        const size_t end = FieldEnd(text, pos + 1);
        out += Field(text.substr(pos + 1, end - pos - 1), depth);
        pos = end;
      } else {
        out += c;
      }
    }
    return out.Take();
  }

 private:
  static size_t FieldEnd(std::string_view text, size_t pos) {
    if (pos == text.size()) Fail("Single '{' encountered in format string");
    for (int open = 1; pos < text.size(); ++pos) {
      open += text[pos] == '{' ? 1 : text[pos] == '}' ? -1 : 0;
      if (open == 0) return pos;
    }
    Fail("expected '}' before end of string");
  }

  std::string Field(std::string_view field, int depth) {
    const size_t end = std::min(field.find_first_of("!:"), field.size());
    Value value = Look(field.substr(0, end));
    std::string_view rest = field.substr(end);
    if (rest.starts_with('!')) {
      if (rest.size() < 2 || (rest.size() > 2 && rest[2] != ':')) {
        Fail("expected ':' after conversion specifier");
      }
      if (rest[1] == 'r' || rest[1] == 'a') {
        value = Value(rest[1] == 'r' ? Repr(value) : AsciiRepr(value));
      } else if (rest[1] == 's') {
        value = Value(ToString(value));
      } else {
        Fail("Unknown conversion specifier " + std::string(rest.substr(1, 1)));
      }
      rest.remove_prefix(2);
    }
    if (rest.starts_with(':')) rest.remove_prefix(1);
    if (rest.find('{') == std::string_view::npos) return Formatted(value, rest);
    return Formatted(value, Run(rest, depth + 1));
  }

  std::string Formatted(const Value& value, std::string_view spec) {
    if (!in_markup_) return FormatValue(value, spec);
    if (!value.is_markup()) return EscapeHtml(FormatValue(value, spec));
    if (!spec.empty()) Fail("Unsupported format specification for Markup.");
    return ToString(value);
  }

  // "name.attribute[item]": the argument, then what it has.
  Value Look(std::string_view name) {
    const size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = Argument(name.substr(0, end));
    name.remove_prefix(end);
    while (!name.empty()) {
      if (name[0] == '.') {
        const size_t stop = std::min(name.find_first_of(".[", 1), name.size());
        const std::string_view attribute = name.substr(1, stop - 1);
        if (attribute.empty()) Fail("Empty attribute in format string");
        value = interpreter_->GetAttribute(value, std::string(attribute));
        name.remove_prefix(stop);
      } else {
        const size_t stop = name.find(']');
        if (stop == std::string_view::npos) Fail("Missing ']' in format string");
        value = interpreter_->GetItem(value, Key(name.substr(1, stop - 1)));
        name.remove_prefix(stop + 1);
        if (!name.empty() && name[0] != '.' && name[0] != '[') {
          Fail("Only '.' or '[' may follow ']' in format field specifier");
        }
      }
    }
    return value;
  }

  static bool IsNumber(std::string_view text) {
    return !text.empty() && text.size() < 10 &&
           text.find_first_not_of("0123456789") == std::string_view::npos;
  }
  static Value Key(std::string_view text) {
    if (text.empty()) Fail("Empty attribute in format string");
    return IsNumber(text) ? Value(static_cast<int64_t>(std::stoll(std::string(text))))
                          : Value(text);
  }

  Value Argument(std::string_view name) {
    if (name.empty() || IsNumber(name)) {
      if (numbered_.value_or(!name.empty()) != !name.empty()) {
        Fail("cannot switch between automatic field numbering and manual field specification");
      }
      numbered_ = !name.empty();
      const size_t index = name.empty() ? next_++ : std::stoul(std::string(name));
      if (index < args_.positional.size()) return args_.positional[index];
      Fail("Replacement index " + std::to_string(index) +
           " out of range for positional args tuple");
    }
    for (const auto& [key, value] : args_.keyword) {
      if (key == name) return value;
    }
    Fail("'" + std::string(name) + "'");
  }

  Interpreter* interpreter_;
  const Args& args_;
  const bool in_markup_;
  size_t next_ = 0;
  std::optional<bool> numbered_;  // how fields name positional arguments
};

}  // namespace

std::string FormatValue(const Value& value, std::string_view spec_text) {
  if (spec_text.empty()) return ToString(value);
  const Spec spec = SpecReader(spec_text).Read();
  constexpr std::string_view kFloatTypes = "eEfFgG%";
  const bool float_type = spec.type != 0 && kFloatTypes.find(spec.type) != std::string_view::npos;
  if (value.is_string() || value.is_undefined()) {
    return FormatString(spec, Value(ToString(value)));
  }
  if (value.is_float() || (value.is_int() && float_type)) {
    if (spec.type != 0 && spec.type != 'n' && !float_type) FailCode(spec, value);
    return FormatFloat(spec, value);
  }
  if (value.is_int()) {
    constexpr std::string_view kIntTypes = "bcdnoxX";
    if (spec.type != 0 && kIntTypes.find(spec.type) == std::string_view::npos) {
      FailCode(spec, value);
    }
    return FormatInteger(spec, value);
  }
  Fail("unsupported format string passed to " + std::string(TypeName(value)) + ".__format__");
}

Value FormatMethod(Interpreter* interpreter, const Value& self, const Args& args) {
  return Alike(self,
               Value(Formatter(interpreter, args, self.is_markup()).Run(self.as_string(), 1)));
}

}  // namespace pingti::text::jinja
