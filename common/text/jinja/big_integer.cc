// See big_integer.h.
#include "common/text/jinja/big_integer.h"

#include <algorithm>
#include <boost/multiprecision/cpp_int.hpp>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "common/text/jinja/error.h"

namespace pingti::text::jinja {

using boost::multiprecision::cpp_int;

struct BigInteger {
  explicit BigInteger(cpp_int n)
      : number(std::move(n)), held(sizeof(*this) + number.backend().size() * sizeof(uint64_t)) {}

  const cpp_int number;
  const Held held;
};

namespace {

constexpr double kInt64End = 0x1p63;  // the least double that is too large

size_t BitsOf(const cpp_int& magnitude) {
  return magnitude == 0 ? 0 : boost::multiprecision::msb(magnitude) + 1;
}

cpp_int BigOf(const Value& integer) {
  const BigInteger* big = integer.as_big_integer();
  return big != nullptr ? big->number : cpp_int(integer.as_int());
}

// An operation that combines every word of one with every word of the other.
void ChargeWork(const cpp_int& a, const cpp_int& b) {
  ChargeSteps(a.backend().size() * b.backend().size() / 8 + 1);
}

[[noreturn]] void FailLength() {
  FailLimit("an integer of more than " + std::to_string(kMaxIntegerBits) + " bits");
}
[[noreturn]] void FailDigits() {
  Fail("Exceeds the limit (" + std::to_string(kMaxDecimalDigits) +
       " digits) for integer string conversion");
}

Value Fitting(cpp_int number) {
  if (number >= std::numeric_limits<int64_t>::min() &&
      number <= std::numeric_limits<int64_t>::max()) {
    return Value(static_cast<int64_t>(number));
  }
  if (BitsOf(abs(number)) > kMaxIntegerBits) FailLength();
  return Value(std::make_shared<const BigInteger>(std::move(number)));
}

// magnitude * 2^exponent, rounded to the nearest double; infinity beyond.
double Rounded(const cpp_int& magnitude, int exponent) {
  const size_t bits = BitsOf(magnitude);
  if (bits <= 64)
    return std::ldexp(static_cast<double>(static_cast<uint64_t>(magnitude)), exponent);
  const size_t shift = bits - 64;
  auto top = static_cast<uint64_t>(magnitude >> shift);
  if (boost::multiprecision::lsb(magnitude) < shift) top |= 1;  // more than a half, if it matters
  return std::ldexp(static_cast<double>(top), exponent + static_cast<int>(shift));
}

// a / b, rounded once.
double Quotient(const cpp_int& a, const cpp_int& b) {
  if (b == 0) Fail("division by zero");
  const cpp_int dividend = abs(a), divisor = abs(b);
  constexpr size_t kBits = 66;  // of the quotient, at least: more than a double and a rest
  const size_t wanted = kBits + BitsOf(divisor), given = BitsOf(dividend);
  const size_t shift = wanted > given ? wanted - given : 0;
  cpp_int quotient, rest;
  divide_qr(cpp_int(dividend << shift), divisor, quotient, rest);
  if (rest != 0) quotient |= 1;
  const double result = Rounded(quotient, -static_cast<int>(shift));
  if (std::isinf(result)) Fail("integer division result too large for a float");
  return (a < 0) != (b < 0) ? -result : result;
}

// Quotient and rest of a division that rounds down.
std::pair<cpp_int, cpp_int> FloorDivided(const cpp_int& a, const cpp_int& b) {
  if (b == 0) Fail("integer division or modulo by zero");
  cpp_int quotient, rest;
  divide_qr(a, b, quotient, rest);
  if (rest != 0 && (rest < 0) != (b < 0)) {
    --quotient;
    rest += b;
  }
  return {std::move(quotient), std::move(rest)};
}

cpp_int Power(cpp_int base, const cpp_int& exponent) {
  if (exponent == 0 || base == 1) return 1;
  if (base == 0) return 0;
  if (base == -1) return bit_test(exponent, 0) ? -1 : 1;
  const size_t bits = BitsOf(abs(base));
  if (exponent > kMaxIntegerBits || (bits - 1) * static_cast<size_t>(exponent) > kMaxIntegerBits) {
    FailLength();
  }
  cpp_int result = 1;
  for (auto rest = static_cast<size_t>(exponent); rest > 0; rest >>= 1) {
    if ((rest & 1) != 0) {
      ChargeWork(result, base);
      result *= base;
    }
    if (rest == 1) break;
    ChargeWork(base, base);
    base *= base;
  }
  return result;
}

// What int64_t holds, without a way over cpp_int.
std::optional<int64_t> SmallResult(BinaryOp op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case BinaryOp::kAdd:
      if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
      return result;
    case BinaryOp::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) return std::nullopt;
      return result;
    case BinaryOp::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
      return result;
    case BinaryOp::kFloorDivide:
    case BinaryOp::kModulo: {
      if (b == 0 || b == -1) return std::nullopt;
      const bool rounds = a % b != 0 && (a < 0) != (b < 0);
      return op == BinaryOp::kFloorDivide ? a / b - (rounds ? 1 : 0) : a % b + (rounds ? b : 0);
    }
    default:
      return std::nullopt;
  }
}

int DigitOf(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'z' ? lower - 'a' + 10 : 36;
}

}  // namespace

Value IntegerArithmetic(BinaryOp op, const Value& a, const Value& b) {
  if (a.as_big_integer() == nullptr && b.as_big_integer() == nullptr) {
    if (const auto result = SmallResult(op, a.as_int(), b.as_int())) return Value(*result);
  }
  const cpp_int x = BigOf(a), y = BigOf(b);
  ChargeWork(x, y);
  switch (op) {
    case BinaryOp::kAdd:
      return Fitting(x + y);
    case BinaryOp::kSubtract:
      return Fitting(x - y);
    case BinaryOp::kMultiply:
      return Fitting(x * y);
    case BinaryOp::kDivide:
      return Value(Quotient(x, y));
    case BinaryOp::kFloorDivide:
      return Fitting(FloorDivided(x, y).first);
    case BinaryOp::kModulo:
      return Fitting(FloorDivided(x, y).second);
    case BinaryOp::kPower:
      if (y >= 0) return Fitting(Power(x, y));
      if (x == 0) Fail("0.0 cannot be raised to a negative power");
      return Value(std::pow(IntegerToDouble(a), IntegerToDouble(b)));
  }
  return Value();
}

std::partial_ordering CompareNumbers(const Value& a, const Value& b) {
  if (a.is_float() && b.is_float()) return a.as_double() <=> b.as_double();
  if (a.is_float()) {
    const std::partial_ordering reversed = CompareNumbers(b, a);
    return 0 <=> reversed;
  }
  if (b.is_float()) {
    const double number = b.as_double();
    if (!std::isfinite(number)) return 0.0 <=> number;
    const double whole = std::trunc(number);
    const std::partial_ordering order = CompareNumbers(a, IntegerFromDouble(whole));
    return order != 0 ? order : whole <=> number;
  }
  if (a.as_big_integer() == nullptr && b.as_big_integer() == nullptr) {
    return a.as_int() <=> b.as_int();
  }
  ChargeSteps(1);
  return BigOf(a).compare(BigOf(b)) <=> 0;
}

bool IsNegative(const Value& integer) {
  const BigInteger* big = integer.as_big_integer();
  return big != nullptr ? big->number < 0 : integer.as_int() < 0;
}

double IntegerToDouble(const Value& integer) {
  const BigInteger* big = integer.as_big_integer();
  if (big == nullptr) return static_cast<double>(integer.as_int());
  const double magnitude = Rounded(abs(big->number), 0);
  if (std::isinf(magnitude)) Fail("int too large to convert to float");
  return big->number < 0 ? -magnitude : magnitude;
}

Value IntegerFromDouble(double number) {
  if (std::isnan(number)) Fail("cannot convert float NaN to integer");
  if (std::isinf(number)) Fail("cannot convert float infinity to integer");
  if (number >= -kInt64End && number < kInt64End) return Value(static_cast<int64_t>(number));
  return Fitting(cpp_int(number));
}

Value IntegerFromUnsigned(uint64_t number) { return Fitting(cpp_int(number)); }

std::string IntegerText(const Value& integer) {
  return (IsNegative(integer) ? "-" : "") + IntegerDigits(integer, 10);
}

std::string IntegerDigits(const Value& integer, int base) {
  const BigInteger* big = integer.as_big_integer();
  if (big == nullptr) {
    const int64_t number = integer.as_int();
    const uint64_t magnitude =
        number < 0 ? uint64_t{0} - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
    std::string digits(64, '\0');
    digits.resize(static_cast<size_t>(
        std::to_chars(digits.data(), digits.data() + digits.size(), magnitude, base).ptr -
        digits.data()));
    return digits;
  }
  const cpp_int magnitude = abs(big->number);
  if (base != 10) {
    std::vector<uint8_t> digits;
    export_bits(magnitude, std::back_inserter(digits), base == 16 ? 4 : base == 8 ? 3 : 1);
    ChargeSteps(digits.size());
    std::string text;
    for (const uint8_t digit : digits) text += "0123456789abcdef"[digit];
    return text;
  }
  constexpr size_t kMostBits = kMaxDecimalDigits * 10 / 3;  // of fewer bits than these
  if (BitsOf(magnitude) > kMostBits) FailDigits();
  ChargeWork(magnitude, magnitude);
  std::string text = magnitude.str();
  if (text.size() > kMaxDecimalDigits) FailDigits();
  return text;
}

std::optional<Value> ParseInteger(std::string_view digits, int base) {
  if (digits.empty()) return std::nullopt;
  for (const char c : digits) {
    if (DigitOf(c) >= base) return std::nullopt;
  }
  int64_t small = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), small, base);
  if (parsed.ec == std::errc()) return Value(small);
  const bool has_limit = (base & (base - 1)) != 0;
  if (has_limit && digits.size() > kMaxDecimalDigits) FailDigits();
  if (digits.size() > kMaxIntegerBits) FailLength();
  ChargeSteps(digits.size() * digits.size() / 1024 + 1);
  cpp_int number = 0;
  for (const char c : digits) {
    number *= base;
    number += DigitOf(c);
  }
  return Fitting(std::move(number));
}

}  // namespace pingti::text::jinja
