// Filters on numbers. See builtins.h.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

#include "common/text/jinja/big_integer.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/value_ops.h"

namespace pingti::text::jinja {
namespace {

// Text as int(text, base) reads it: white space around, a sign, a prefix, underscores between
// digits.
std::optional<Value> IntegerFromText(std::string_view text, int64_t base) {
  text = Strip(text, std::nullopt, true, true);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  bool after_prefix = false;
  for (const auto& [prefix, prefix_base] : {std::pair{std::string_view("0x"), 16},
                                            {std::string_view("0o"), 8},
                                            {std::string_view("0b"), 2}}) {
    if ((base == prefix_base || base == 0) && ToLower(text.substr(0, 2)) == prefix) {
      text.remove_prefix(2);
      base = prefix_base;
      after_prefix = true;
    }
  }
  const bool by_form = base == 0;  // decimal, without zeros before it
  if (by_form) base = 10;
  if (base < 2 || base > 36) return std::nullopt;
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool between = (i > 0 ? text[i - 1] != '_' : after_prefix) && i + 1 < text.size();
    if (text[i] != '_' || !between) digits += text[i];
  }
  const bool has_limit = (base & (base - 1)) != 0;
  if (has_limit && digits.size() > kMaxDecimalDigits) return std::nullopt;
  const std::optional<Value> value = ParseInteger(digits, static_cast<int>(base));
  if (!value || (by_form && digits[0] == '0' && Truth(*value))) return std::nullopt;
  return negative ? Negate(*value) : *value;
}

std::optional<double> ParseFloat(std::string_view text) {
  std::string clean(Strip(text, std::nullopt, true, true));
  for (size_t i = 1; i + 1 < clean.size(); ++i) {
    if (clean[i] == '_' && std::isdigit(static_cast<unsigned char>(clean[i - 1])) != 0 &&
        std::isdigit(static_cast<unsigned char>(clean[i + 1])) != 0) {
      clean.erase(i, 1);
    }
  }
  return FloatFromText(clean);
}

Value ToIntFilter(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("int", args, {"default", "base"});
  RequireDefined(input);
  const Value otherwise = bound.Or(0, Value(int64_t{0}));
  if (input.is_bool()) return Value(input.as_int());
  if (input.is_int()) return input;
  if (input.is_float()) return IntegerFromDouble(input.as_double());
  if (!input.is_string()) return otherwise;
  const std::string& text = input.as_string();
  if (const auto value = IntegerFromText(text, bound.Int(1, 10))) return *value;
  const std::optional<double> number = ParseFloat(text);
  return number && std::isfinite(*number) ? IntegerFromDouble(*number) : otherwise;
}

Value ToFloatFilter(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("float", args, {"default"});
  RequireDefined(input);
  if (input.is_number()) return Value(input.as_double());
  if (input.is_string()) {
    if (const auto value = ParseFloat(input.as_string())) return Value(*value);
  }
  return bound.Or(0, Value(0.0));
}

// An integer as itself, and True as 1.
Value Plus(const Value& integer) { return integer.is_bool() ? Value(integer.as_int()) : integer; }

Value Abs(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("abs", args, {});
  if (input.is_float()) return Value(std::fabs(input.as_double()));
  if (input.is_int()) return IsNegative(input) ? Negate(input) : Plus(input);
  RequireDefined(input);
  Fail("bad operand type for abs(): '" + std::string(TypeName(input)) + "'");
}

// round(value, digits) as Python does it: correctly rounded decimal, ties to even.
double RoundDecimal(double value, int64_t digits) {
  if (!std::isfinite(value)) return value;
  if (digits >= 0) {
    char buffer[400];
    std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(std::min<int64_t>(digits, 40)),
                  value);
    double rounded = 0;
    std::from_chars(buffer, buffer + std::char_traits<char>::length(buffer), rounded);
    return rounded;
  }
  const double scale = std::pow(10.0, static_cast<double>(-digits));
  if (std::isinf(scale)) return std::copysign(0.0, value);
  return std::nearbyint(value / scale) * scale;
}

Value PowerOfTen(int64_t exponent) {
  return Arithmetic(BinaryOp::kPower, Value(int64_t{10}), Value(exponent));
}

// round(integer, -digits): ties go to the even multiple of the power.
Value RoundInteger(const Value& integer, int64_t digits) {
  const Value unit = PowerOfTen(digits);
  const Value rest = Arithmetic(BinaryOp::kModulo, integer, unit);
  const Value down = Arithmetic(BinaryOp::kSubtract, integer, rest);
  const Value twice = Arithmetic(BinaryOp::kAdd, rest, rest);
  const Value multiple = Arithmetic(BinaryOp::kFloorDivide, integer, unit);
  const bool is_odd = Truth(Arithmetic(BinaryOp::kModulo, multiple, Value(int64_t{2})));
  const bool up = Less(unit, twice) || (Equal(unit, twice) && is_odd);
  return up ? Arithmetic(BinaryOp::kAdd, down, unit) : down;
}

Value Round(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("round", args, {"precision", "method"});
  // Beyond these bounds nothing changes any more, or the power of ten is too large.
  const int64_t precision = std::clamp<int64_t>(bound.Int(0, 0), -100'000, 100'000);
  const std::string method = bound.StringOr(1, "common");
  if (method != "common" && method != "ceil" && method != "floor") {
    Fail("method must be common, ceil or floor");
  }
  if (!input.is_number()) {
    RequireDefined(input);
    Fail("type " + std::string(TypeName(input)) + " doesn't define __round__ method");
  }
  if (method == "common") {
    if (input.is_float()) return Value(RoundDecimal(input.as_double(), precision));
    return precision >= 0 ? Plus(input) : RoundInteger(input, -precision);
  }
  const Value scale = PowerOfTen(precision);
  Value scaled = Arithmetic(BinaryOp::kMultiply, input, scale);
  if (scaled.is_float()) {
    const double number = scaled.as_double();
    scaled = IntegerFromDouble(method == "ceil" ? std::ceil(number) : std::floor(number));
  }
  return Arithmetic(BinaryOp::kDivide, scaled, scale);
}

constexpr FilterEntry kNumberFilters[] = {
    {"abs", Abs},
    {"float", ToFloatFilter},
    {"int", ToIntFilter},
    {"round", Round},
};

}  // namespace

const FilterEntry* FindNumberFilter(std::string_view name) {
  for (const FilterEntry& entry : kNumberFilters) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

}  // namespace pingti::text::jinja
