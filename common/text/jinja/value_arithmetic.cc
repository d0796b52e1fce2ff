// Operators + - * / // % ** and their meaning for numbers, text and lists. See value_ops.h.
#include <algorithm>
#include <cmath>

#include "common/text/jinja/big_integer.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/markup.h"
#include "common/text/jinja/value_ops.h"

namespace pingti::text::jinja {
namespace {

[[noreturn]] void FailOperands(std::string_view op, const Value& a, const Value& b) {
  Fail("unsupported operand type(s) for " + std::string(op) + ": '" + std::string(TypeName(a)) +
       "' and '" + std::string(TypeName(b)) + "'");
}

double FloatModulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0 && ((b < 0) != (rest < 0))) rest += b;
  return rest == 0 ? std::copysign(0.0, b) : rest;
}

double FloatFloorDivide(double a, double b) {
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0 && ((b < 0) != (rest < 0))) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}

double FloatPower(double a, double b) {
  if (a == 0 && b < 0) Fail("0.0 cannot be raised to a negative power");
  if (a < 0 && std::isfinite(a) && std::isfinite(b) && std::floor(b) != b) {
    Fail("a negative number to the power of a fraction is a complex number");
  }
  const double result = std::pow(a, b);
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) {
    Fail("a power that is beyond a float");
  }
  return result;
}

Value FloatArithmetic(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd:
      return Value(a + b);
    case BinaryOp::kSubtract:
      return Value(a - b);
    case BinaryOp::kMultiply:
      return Value(a * b);
    case BinaryOp::kDivide:
      if (b == 0) Fail("float division by zero");
      return Value(a / b);
    case BinaryOp::kFloorDivide:
      if (b == 0) Fail("float floor division by zero");
      return Value(FloatFloorDivide(a, b));
    case BinaryOp::kModulo:
      if (b == 0) Fail("float modulo");
      return Value(FloatModulo(a, b));
    case BinaryOp::kPower:
      return Value(FloatPower(a, b));
  }
  return Value();
}

Value Repeat(const Value& value, int64_t times) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  const size_t size = value.is_string() ? value.as_string().size() : value.as_list().items.size();
  const size_t unit = size * (value.is_string() ? 1 : sizeof(Value));
  size_t bytes = 0;
  if (__builtin_mul_overflow(unit, count, &bytes)) FailLimit("repetition makes a value too large");
  ChargeSize(bytes);
  if (value.is_string()) {
    std::string out;
    out.reserve(size * count);
    for (size_t i = 0; i < count && size > 0; ++i) out += value.as_string();
    return Alike(value, Value(std::move(out)));
  }
  std::vector<Value> items;
  for (size_t i = 0; i < count && size > 0; ++i) {
    items.insert(items.end(), value.as_list().items.begin(), value.as_list().items.end());
  }
  return value.as_list().is_tuple ? Value::MakeTuple(std::move(items))
                                  : Value::MakeList(std::move(items));
}

constexpr std::string_view OpName(BinaryOp op) {
  constexpr std::string_view kNames[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
  return kNames[static_cast<size_t>(op)];
}

Value Concatenate(const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) {
    if (a.is_markup() || b.is_markup()) return Value::MakeMarkup(EscapedText(a) + EscapedText(b));
    ChargeSize(a.as_string().size() + b.as_string().size());
    return Value(a.as_string() + b.as_string());
  }
  if (a.is_list() && b.is_list() && a.as_list().is_tuple == b.as_list().is_tuple) {
    ChargeSize((a.as_list().items.size() + b.as_list().items.size()) * sizeof(Value));
    std::vector<Value> items = a.as_list().items;
    items.insert(items.end(), b.as_list().items.begin(), b.as_list().items.end());
    return a.as_list().is_tuple ? Value::MakeTuple(std::move(items))
                                : Value::MakeList(std::move(items));
  }
  if (a.is_string()) {
    Fail("can only concatenate str (not \"" + std::string(TypeName(b)) + "\") to str");
  }
  if (a.is_list()) {
    Fail("can only concatenate " + std::string(TypeName(a)) + " (not \"" +
         std::string(TypeName(b)) + "\") to " + std::string(TypeName(a)));
  }
  FailOperands("+", a, b);
}

}  // namespace

Value Arithmetic(BinaryOp op, const Value& a, const Value& b) {
  RequireDefined(a);
  if (op == BinaryOp::kModulo && a.is_string()) {
    return PercentFormat(a, b);
  }
  RequireDefined(b);
  if (a.is_int() && b.is_int()) return IntegerArithmetic(op, a, b);
  if (a.is_number() && b.is_number()) return FloatArithmetic(op, a.as_double(), b.as_double());
  if (op == BinaryOp::kAdd) return Concatenate(a, b);
  if (op == BinaryOp::kMultiply) {
    if ((a.is_string() || a.is_list()) && b.is_int()) return Repeat(a, b.as_int());
    if (a.is_int() && (b.is_string() || b.is_list())) return Repeat(b, a.as_int());
  }
  FailOperands(OpName(op), a, b);
}

Value Negate(const Value& value) {
  if (value.is_int()) return IntegerArithmetic(BinaryOp::kSubtract, Value(int64_t{0}), value);
  if (value.is_float()) return Value(-value.as_double());
  RequireDefined(value);
  Fail("bad operand type for unary -: '" + std::string(TypeName(value)) + "'");
}

}  // namespace pingti::text::jinja
