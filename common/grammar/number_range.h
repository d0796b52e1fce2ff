// JSON numbers within bounds, as an expression over their digits. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/grammar/grammar.h"

namespace pingti::grammar {

// A finite number as its decimal digits say it.
struct Decimal {
  bool negative = false;
  uint64_t integer = 0;  // at most 18 digits
  std::string fraction;  // digits without trailing zeros

  // Errors: InvalidArgument when it is not finite or has more digits before the point.
  static absl::StatusOr<Decimal> FromDouble(double value);
  static absl::StatusOr<Decimal> FromInteger(int64_t value);
  bool is_zero() const { return integer == 0 && fraction.empty(); }
};

struct NumberBound {
  Decimal value;
  bool exclusive = false;
};

struct NumberRange {
  std::optional<NumberBound> low;
  std::optional<NumberBound> high;
};

// Numbers in `range` written without exponent: integers when `integer`, else with up to
// kMaxFractionDigits digits after the point. Zero is written without a sign. An empty range gives
// an expression that matches nothing.
ExprId NumberInRange(const NumberRange& range, bool integer, Grammar* grammar);

}  // namespace pingti::grammar
