// Integers of any length, as Python's int is: what int64_t does not hold.
//
// A Value keeps an integer as int64_t where it fits and as a BigInteger where it does not; every
// function here gives the form that fits. An integer has at most kMaxIntegerBits, an operation
// charges the budget by the product of its operands' lengths, and decimal digits are limited as in
// Python. Stateless. Errors are thrown (error.h).
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/text/jinja/value.h"
#include "common/text/jinja/value_ops.h"

namespace pingti::text::jinja {

inline constexpr size_t kMaxIntegerBits = size_t{1} << 16;
// As Python's sys.int_info.default_max_str_digits; bases that are powers of two have no such limit.
inline constexpr size_t kMaxDecimalDigits = 4300;

// + - * / // % ** of integers of any length. Errors: division by zero, a quotient beyond double.
Value IntegerArithmetic(BinaryOp op, const Value& a, const Value& b);

// Exact also between an integer and a float; unordered with NaN.
std::partial_ordering CompareNumbers(const Value& a, const Value& b);

bool IsNegative(const Value& integer);
// The nearest double, ties to even. Errors: beyond double.
double IntegerToDouble(const Value& integer);
// Rounds towards zero. Errors: infinities and NaN.
Value IntegerFromDouble(double number);
Value IntegerFromUnsigned(uint64_t number);

// Decimal, with its sign.
std::string IntegerText(const Value& integer);
// Digits of the magnitude in base 2, 8, 10 or 16, in lower case.
std::string IntegerDigits(const Value& integer, int base);
// Digits in a base of 2 to 36, without sign and prefix; nullopt when there is none or another
// character.
std::optional<Value> ParseInteger(std::string_view digits, int base);

}  // namespace pingti::text::jinja
