// The % operator of strings. See value_ops.h. Source: Python's "printf-style String Formatting".
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "common/text/jinja/big_integer.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/markup.h"
#include "common/text/jinja/value_ops.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

constexpr int64_t kMaxFieldWidth = 1'000'000;  // of width and precision

bool IsOneOf(char c, std::string_view any) { return any.find(c) != std::string_view::npos; }

struct Conversion {
  bool is_left = false, has_plus = false, has_space = false, is_alternate = false,
       has_zeros = false;
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

// `sign`, then `text`, in a field of the width; with `zeros` between them where that is asked for.
std::string InField(const Conversion& c, const std::string& sign, const std::string& text,
                    bool zeros) {
  const int64_t length = Length(Value(sign + text));
  const auto padding = static_cast<size_t>(std::max<int64_t>(0, c.width - length));
  ChargeText(padding);
  if (c.is_left) return sign + text + std::string(padding, ' ');
  return zeros ? sign + std::string(padding, '0') + text : std::string(padding, ' ') + sign + text;
}

std::string SignOf(const Conversion& c, bool is_negative) {
  if (is_negative) return "-";
  return c.has_plus ? "+" : c.has_space ? " " : "";
}

void RequireNumber(const Conversion& c, const Value& value) {
  if (value.is_number()) return;
  RequireDefined(value);
  Fail(std::string("%") + c.type + " format: a real number is required, not " +
       std::string(TypeName(value)));
}

std::string FormatInteger(const Conversion& c, const Value& value) {
  RequireNumber(c, value);
  const bool is_decimal = IsOneOf(c.type, "diu");
  if (value.is_float() && !is_decimal) {
    Fail(std::string("%") + c.type + " format: an integer is required, not float");
  }
  const Value number = value.is_float() ? IntegerFromDouble(value.as_double()) : value;
  const int base = is_decimal ? 10 : c.type == 'o' ? 8 : 16;
  std::string digits = IntegerDigits(number, base);
  if (c.precision > static_cast<int64_t>(digits.size())) {
    ChargeText(static_cast<size_t>(c.precision));
    digits.insert(0, static_cast<size_t>(c.precision) - digits.size(), '0');
  }
  if (c.type == 'X') {
    std::transform(digits.begin(), digits.end(), digits.begin(),
                   [](char d) { return d >= 'a' ? static_cast<char>(d - 'a' + 'A') : d; });
  }
  std::string sign = SignOf(c, IsNegative(number));
  if (c.is_alternate && !is_decimal) sign += std::string("0") + c.type;
  return InField(c, sign, digits, c.has_zeros);
}

std::string FormatFloat(const Conversion& c, const Value& value) {
  RequireNumber(c, value);
  const double number = value.as_double();
  const int precision = c.precision < 0 ? 6 : static_cast<int>(c.precision);
  ChargeText(static_cast<size_t>(precision) + 400);
  std::string digits(static_cast<size_t>(precision) + 400, '\0');
  const std::string format = std::string("%") + (c.is_alternate ? "#" : "") + ".*" + c.type;
  digits.resize(static_cast<size_t>(
      std::snprintf(digits.data(), digits.size(), format.c_str(), precision, std::fabs(number))));
  return InField(c, SignOf(c, std::signbit(number) && !std::isnan(number)), digits, c.has_zeros);
}

std::string FormatText(const Conversion& c, const std::string& text) {
  const std::vector<char32_t> chars = ToChars(text);
  const size_t kept =
      c.precision < 0 ? chars.size() : std::min(chars.size(), static_cast<size_t>(c.precision));
  return InField(c, "", FromChars(chars, 0, kept), false);
}

// %c: a code point, or a text of one character.
std::string FormatCharacter(const Conversion& c, const Value& value) {
  std::string text;
  if (value.is_string() && Length(value) == 1) {
    text = value.as_string();
  } else if (value.is_int()) {
    const int64_t code = ClampedInt(value);
    if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      Fail("%c arg not in range(0x110000)");
    }
    AppendUtf8(static_cast<char32_t>(code), &text);
  } else {
    Fail("%c requires int or char");
  }
  return InField(c, "", text, false);
}

// One use of the operator.
class PercentFormatter {
 public:
  PercentFormatter(const Value& format, const Value& args)
      : format_(format.as_string()),
        in_markup_(format.is_markup()),
        args_(args),
        is_tuple_(args.is_list() && args.as_list().is_tuple) {}

  std::string Run() {
    TextBuilder out;
    while (pos_ < format_.size()) {
      const char current = format_[pos_++];
      if (current == '%') {
        out += Field();
      } else {
        out += current;
      }
    }
    const bool all_used = args_.is_dict() || used_ >= Count();
    if (!all_used && !(args_.is_list() && !is_tuple_)) {
      Fail("not all arguments converted during string formatting");
    }
    return out.Take();
  }

 private:
  size_t Count() const { return is_tuple_ ? args_.as_list().items.size() : 1; }

  Value Next() {
    if (used_ >= Count()) Fail("not enough arguments for format string");
    ++used_;
    return is_tuple_ ? args_.as_list().items[used_ - 1] : args_;
  }

  char Current() const {
    if (pos_ == format_.size()) Fail("incomplete format");
    return format_[pos_];
  }

  // The value of "(name)" if the field begins with it.
  std::optional<Value> Named() {
    if (Current() != '(') return std::nullopt;
    size_t end = pos_ + 1;
    for (int open = 1; open > 0; ++end) {
      if (end == format_.size()) Fail("incomplete format key");
      open += format_[end] == '(' ? 1 : format_[end] == ')' ? -1 : 0;
    }
    const std::string_view key = format_.substr(pos_ + 1, end - pos_ - 2);
    pos_ = end;
    if (!args_.is_dict()) Fail("format requires a mapping");
    const Value* found = args_.as_dict().Find(key);
    if (found == nullptr) Fail("'" + std::string(key) + "'");
    return *found;
  }

  // Digits, or * for an argument.
  int64_t Number() {
    int64_t number = 0;
    if (Current() == '*') {
      ++pos_;
      const Value given = Next();
      if (!given.is_int()) Fail("* wants int");
      number = ClampedInt(given);
    }
    for (; pos_ < format_.size() && IsOneOf(format_[pos_], "0123456789"); ++pos_) {
      number = std::min(number, kMaxFieldWidth) * 10 + (format_[pos_] - '0');
    }
    if (number > kMaxFieldWidth || number < -kMaxFieldWidth) {
      FailLimit("a width or precision above " + std::to_string(kMaxFieldWidth) + " in a format");
    }
    return number;
  }

  Conversion Read() {
    Conversion c;
    for (; IsOneOf(Current(), "-+ #0"); ++pos_) {
      c.is_left = c.is_left || Current() == '-';
      c.has_plus = c.has_plus || Current() == '+';
      c.has_space = c.has_space || Current() == ' ';
      c.is_alternate = c.is_alternate || Current() == '#';
      c.has_zeros = c.has_zeros || Current() == '0';
    }
    c.width = Number();
    if (c.width < 0) {
      c.is_left = true;
      c.width = -c.width;
    }
    if (Current() == '.') {
      ++pos_;
      c.precision = std::max<int64_t>(0, Number());
    }
    if (IsOneOf(Current(), "hlL")) ++pos_;  // lengths, which mean nothing
    c.type = Current();
    ++pos_;
    return c;
  }

  std::string Field() {
    const std::optional<Value> named = Named();
    const Conversion c = Read();
    if (c.type == '%') return "%";
    if (!IsOneOf(c.type, in_markup_ ? "sradiuxXofFeEgG" : "sracdiuxXofFeEgG")) {
      Fail(std::string("unsupported format character '") + c.type + "'");
    }
    const Value value = named ? *named : Next();
    if (c.type == 's') return FormatText(c, in_markup_ ? EscapedText(value) : ToString(value));
    if (IsOneOf(c.type, "ra")) {
      const std::string text = c.type == 'r' ? Repr(value) : AsciiRepr(value);
      return FormatText(c, in_markup_ ? EscapeHtml(text) : text);
    }
    if (c.type == 'c') return FormatCharacter(c, value);
    return IsOneOf(c.type, "diuxXo") ? FormatInteger(c, value) : FormatFloat(c, value);
  }

  const std::string_view format_;
  const bool in_markup_;
  const Value& args_;
  const bool is_tuple_;
  size_t pos_ = 0;
  size_t used_ = 0;  // arguments
};

}  // namespace

Value PercentFormat(const Value& format, const Value& args) {
  return Alike(format, Value(PercentFormatter(format, args).Run()));
}

}  // namespace pingti::text::jinja
