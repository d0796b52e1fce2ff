// Filters on numbers. See builtins.h.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include "common/text/jinja/builtins.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/value_ops.h"

namespace pingti::text::jinja {
namespace {

// Text as int(text) reads it: white space around, a sign, underscores between digits.
std::optional<int64_t> ParseInt(std::string_view text, int base) {
  text = Strip(text, std::nullopt, true, true);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  for (const auto& [prefix, prefix_base] : {std::pair{std::string_view("0x"), 16},
                                            {std::string_view("0o"), 8},
                                            {std::string_view("0b"), 2}}) {
    if (base == prefix_base && ToLower(text.substr(0, 2)) == prefix) text.remove_prefix(2);
  }
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_' && i > 0 && i + 1 < text.size() && text[i - 1] != '_') continue;
    digits += text[i];
  }
  if (digits.empty() || digits[0] == '-') return std::nullopt;
  if (negative) digits.insert(0, 1, '-');
  int64_t value = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (parsed.ptr != digits.data() + digits.size()) return std::nullopt;
  if (parsed.ec == std::errc::result_out_of_range) Fail("integer result is beyond 64 bits");
  return parsed.ec == std::errc() ? std::optional(value) : std::nullopt;
}

std::optional<double> ParseFloat(std::string_view text) {
  std::string clean(Strip(text, std::nullopt, true, true));
  if (clean.starts_with('+')) clean.erase(0, 1);
  for (size_t i = 1; i + 1 < clean.size(); ++i) {
    if (clean[i] == '_' && std::isdigit(static_cast<unsigned char>(clean[i - 1])) != 0 &&
        std::isdigit(static_cast<unsigned char>(clean[i + 1])) != 0) {
      clean.erase(i, 1);
    }
  }
  double value = 0;
  const auto parsed = std::from_chars(clean.data(), clean.data() + clean.size(), value);
  if (clean.empty() || parsed.ptr != clean.data() + clean.size()) return std::nullopt;
  if (parsed.ec == std::errc::result_out_of_range) {
    return clean[0] == '-' ? -std::numeric_limits<double>::infinity()
                           : std::numeric_limits<double>::infinity();
  }
  return value;
}

Value ToIntFilter(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("int", args, {"default", "base"});
  RequireDefined(input);
  const Value otherwise = bound.Or(0, Value(int64_t{0}));
  if (input.is_int()) return Value(input.as_int());
  double number = 0;
  if (input.is_string()) {
    if (const auto value = ParseInt(input.as_string(), static_cast<int>(bound.Int(1, 10)))) {
      return Value(*value);
    }
    const auto value = ParseFloat(input.as_string());
    if (!value) return otherwise;
    number = *value;
  } else if (input.is_float()) {
    number = input.as_double();
  } else {
    return otherwise;
  }
  if (std::isnan(number) || std::isinf(number)) return otherwise;
  if (std::fabs(number) >= 9.2e18) Fail("integer result is beyond 64 bits");
  return Value(static_cast<int64_t>(number));
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

Value Abs(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("abs", args, {});
  if (input.is_float()) return Value(std::fabs(input.as_double()));
  if (input.is_int()) return input.as_int() < 0 ? Negate(input) : Value(input.as_int());
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
  return std::nearbyint(value / scale) * scale;
}

Value Round(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("round", args, {"precision", "method"});
  const int64_t precision = bound.Int(0, 0);
  const std::string method = bound.StringOr(1, "common");
  if (method != "common" && method != "ceil" && method != "floor") {
    Fail("method must be common, ceil or floor");
  }
  if (!input.is_number()) {
    RequireDefined(input);
    Fail("type " + std::string(TypeName(input)) + " doesn't define __round__ method");
  }
  if (method == "common") {
    if (input.is_int() && precision >= 0) return Value(input.as_int());
    const double rounded = RoundDecimal(input.as_double(), precision);
    if (input.is_int()) return Value(static_cast<int64_t>(rounded));
    return Value(rounded);
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = input.as_double() * scale;
  return Value((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
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
