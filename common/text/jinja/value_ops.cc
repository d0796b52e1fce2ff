// See value_ops.h. Printing is in value_print.cc, JSON and % in value_format.cc.
#include "common/text/jinja/value_ops.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/text/jinja/error.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

[[noreturn]] void FailOperands(std::string_view op, const Value& a, const Value& b) {
  Fail("unsupported operand type(s) for " + std::string(op) + ": '" + std::string(TypeName(a)) +
       "' and '" + std::string(TypeName(b)) + "'");
}

[[noreturn]] void FailOverflow() { Fail("integer result is beyond 64 bits"); }

int64_t IntPower(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) FailOverflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) FailOverflow();
  }
  return result;
}

int64_t FloorDivide(int64_t a, int64_t b) {
  if (b == 0) Fail("integer division or modulo by zero");
  if (b == -1) {
    if (a == std::numeric_limits<int64_t>::min()) FailOverflow();
    return -a;
  }
  const int64_t quotient = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? quotient - 1 : quotient;
}

Value IntArithmetic(BinaryOp op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case BinaryOp::kAdd:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case BinaryOp::kSubtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case BinaryOp::kMultiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case BinaryOp::kDivide:
      if (b == 0) Fail("division by zero");
      return Value(static_cast<double>(a) / static_cast<double>(b));
    case BinaryOp::kFloorDivide:
      return Value(FloorDivide(a, b));
    case BinaryOp::kModulo:
      if (b == -1) return Value(int64_t{0});
      return Value(a - FloorDivide(a, b) * b);
    case BinaryOp::kPower:
      if (b < 0) {
        if (a == 0) Fail("0.0 cannot be raised to a negative power");
        return Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
      }
      return Value(IntPower(a, b));
  }
  if (overflow) FailOverflow();
  return Value(result);
}

double FloatModulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0 && ((b < 0) != (rest < 0))) rest += b;
  return rest == 0 ? std::copysign(0.0, b) : rest;
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
      return Value(std::floor((a - FloatModulo(a, b)) / b + 0.5));
    case BinaryOp::kModulo:
      if (b == 0) Fail("float modulo");
      return Value(FloatModulo(a, b));
    case BinaryOp::kPower:
      if (a == 0 && b < 0) Fail("0.0 cannot be raised to a negative power");
      return Value(std::pow(a, b));
  }
  return Value();
}

Value Repeat(const Value& value, int64_t times, size_t max_size) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  const size_t size = value.is_string() ? value.as_string().size() : value.as_list().items.size();
  if (size > 0 && count > max_size / size) FailLimit("repetition makes a value beyond the limit");
  if (value.is_string()) {
    std::string out;
    out.reserve(size * count);
    for (size_t i = 0; i < count && size > 0; ++i) out += value.as_string();
    return Value(std::move(out));
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
  if (a.is_string() && b.is_string()) return Value(a.as_string() + b.as_string());
  if (a.is_list() && b.is_list() && a.as_list().is_tuple == b.as_list().is_tuple) {
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

// Resolves Python's slice bounds for a sequence of `length` items.
struct Bounds {
  int64_t start, stop, step;
};
Bounds SliceBounds(const Value& start, const Value& stop, const Value& step, int64_t length) {
  const auto number = [](const Value& v, int64_t otherwise) {
    if (v.is_none()) return otherwise;
    if (!v.is_int()) {
      RequireDefined(v);
      Fail("slice indices must be integers or None or have an __index__ method");
    }
    return v.as_int();
  };
  Bounds bounds{};
  bounds.step = number(step, 1);
  if (bounds.step == 0) Fail("slice step cannot be zero");
  const bool down = bounds.step < 0;
  const auto clamp = [&](int64_t index) {
    if (index < 0) index = std::max<int64_t>(index + length, down ? -1 : 0);
    return std::min(index, down ? length - 1 : length);
  };
  bounds.start = start.is_none() ? (down ? length - 1 : 0) : clamp(number(start, 0));
  bounds.stop = stop.is_none() ? (down ? -1 : length) : clamp(number(stop, 0));
  return bounds;
}

template <typename Visit>
void ForSlice(const Bounds& bounds, Visit visit) {
  if (bounds.step > 0) {
    for (int64_t i = bounds.start; i < bounds.stop;) {
      visit(static_cast<size_t>(i));
      if (__builtin_add_overflow(i, bounds.step, &i)) break;
    }
  } else {
    for (int64_t i = bounds.start; i > bounds.stop;) {
      visit(static_cast<size_t>(i));
      if (__builtin_add_overflow(i, bounds.step, &i)) break;
    }
  }
}

}  // namespace

std::string_view TypeName(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "NoneType";
  if (value.is_bool()) return "bool";
  if (value.is_int()) return "int";
  if (value.is_float()) return "float";
  if (value.is_string()) return "str";
  if (value.is_list()) return value.as_list().is_tuple ? "tuple" : "list";
  if (value.is_dict()) return "dict";
  if (value.is_namespace()) return "Namespace";
  return "object";
}

bool Truth(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (value.is_bool()) return value.as_bool();
  if (value.is_int()) return value.as_int() != 0;
  if (value.is_float()) return value.as_double() != 0;
  if (value.is_string()) return !value.as_string().empty();
  if (value.is_list()) return !value.as_list().items.empty();
  if (value.is_dict()) return !value.as_dict().entries().empty();
  return true;
}

bool Equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_int() && b.is_int()) return a.as_int() == b.as_int();
    return a.as_double() == b.as_double();
  }
  if (a.is_string() && b.is_string()) return a.as_string() == b.as_string();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_list() && b.is_list()) {
    const List &x = a.as_list(), &y = b.as_list();
    return x.is_tuple == y.is_tuple &&
           std::equal(x.items.begin(), x.items.end(), y.items.begin(), y.items.end(), Equal);
  }
  if (a.is_dict() && b.is_dict()) {
    const Dict &x = a.as_dict(), &y = b.as_dict();
    if (x.entries().size() != y.entries().size()) return false;
    return std::all_of(x.entries().begin(), x.entries().end(), [&](const Dict::Entry& entry) {
      const Value* other = y.Find(entry.first);
      return other != nullptr && Equal(entry.second, *other);
    });
  }
  return a.IsSame(b);
}

bool Less(const Value& a, const Value& b) {
  if (a.is_int() && b.is_int()) return a.as_int() < b.as_int();
  if (a.is_number() && b.is_number()) return a.as_double() < b.as_double();
  if (a.is_string() && b.is_string()) return a.as_string() < b.as_string();  // UTF-8 keeps order
  if (a.is_list() && b.is_list() && a.as_list().is_tuple == b.as_list().is_tuple) {
    const auto &x = a.as_list().items, &y = b.as_list().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!Equal(x[i], y[i])) return Less(x[i], y[i]);
    }
    return x.size() < y.size();
  }
  RequireDefined(a);
  RequireDefined(b);
  Fail("'<' not supported between instances of '" + std::string(TypeName(a)) + "' and '" +
       std::string(TypeName(b)) + "'");
}

bool LessEqual(const Value& a, const Value& b) {
  // NaN is neither less nor equal, which `!(b < a)` would miss.
  if (a.is_number() && b.is_number()) return Less(a, b) || Equal(a, b);
  return !Less(b, a);
}

bool Contains(const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      RequireDefined(item);
      Fail("'in <string>' requires string as left operand, not " + std::string(TypeName(item)));
    }
    return container.as_string().find(item.as_string()) != std::string::npos;
  }
  if (container.is_dict()) {
    RequireHashable(item);
    return container.as_dict().Find(item) != nullptr;
  }
  if (container.is_list()) {
    const auto& items = container.as_list().items;
    return std::any_of(items.begin(), items.end(),
                       [&](const Value& candidate) { return Equal(candidate, item); });
  }
  if (container.is_undefined()) return false;
  Fail("argument of type '" + std::string(TypeName(container)) + "' is not iterable");
}

void RequireDefined(const Value& value) {
  if (value.is_undefined()) Fail(*value.as_undefined().message);
}

void RequireHashable(const Value& value) {
  if (value.is_dict() || value.is_namespace() || (value.is_list() && !value.as_list().is_tuple)) {
    Fail("unhashable type: '" + std::string(TypeName(value)) + "'");
  }
}

int64_t Length(const Value& value) {
  if (value.is_string()) {
    const std::string& text = value.as_string();
    return std::count_if(text.begin(), text.end(),
                         [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
  }
  if (value.is_list()) return static_cast<int64_t>(value.as_list().items.size());
  if (value.is_dict()) return static_cast<int64_t>(value.as_dict().entries().size());
  if (value.is_undefined()) return 0;
  Fail("object of type '" + std::string(TypeName(value)) + "' has no len()");
}

std::vector<Value> Iterate(const Value& value) {
  if (value.is_list()) return value.as_list().items;
  std::vector<Value> items;
  if (value.is_dict()) {
    for (const Dict::Entry& entry : value.as_dict().entries()) items.push_back(entry.first);
  } else if (value.is_string()) {
    std::string_view rest = value.as_string();
    while (!rest.empty()) {
      const size_t length = DecodeUtf8(rest).length;
      items.emplace_back(rest.substr(0, length));
      rest.remove_prefix(length);
    }
  } else if (!value.is_undefined()) {
    Fail("'" + std::string(TypeName(value)) + "' object is not iterable");
  }
  return items;
}

Value Arithmetic(BinaryOp op, const Value& a, const Value& b, size_t max_size) {
  RequireDefined(a);
  if (op == BinaryOp::kModulo && a.is_string()) {
    return Value(PercentFormat(a.as_string(), b, max_size));
  }
  RequireDefined(b);
  if (a.is_int() && b.is_int()) return IntArithmetic(op, a.as_int(), b.as_int());
  if (a.is_number() && b.is_number()) return FloatArithmetic(op, a.as_double(), b.as_double());
  if (op == BinaryOp::kAdd) return Concatenate(a, b);
  if (op == BinaryOp::kMultiply) {
    if ((a.is_string() || a.is_list()) && b.is_int()) return Repeat(a, b.as_int(), max_size);
    if (a.is_int() && (b.is_string() || b.is_list())) return Repeat(b, a.as_int(), max_size);
  }
  FailOperands(OpName(op), a, b);
}

Value Negate(const Value& value) {
  if (value.is_int()) {
    if (value.as_int() == std::numeric_limits<int64_t>::min()) FailOverflow();
    return Value(-value.as_int());
  }
  if (value.is_float()) return Value(-value.as_double());
  RequireDefined(value);
  Fail("bad operand type for unary -: '" + std::string(TypeName(value)) + "'");
}

std::optional<Value> Item(const Value& value, const Value& key) {
  RequireDefined(value);
  if (value.is_dict()) {
    const Value* found = value.as_dict().Find(key);
    return found == nullptr ? std::nullopt : std::optional<Value>(*found);
  }
  if (!key.is_int()) return std::nullopt;
  int64_t index = key.as_int();
  if (value.is_list()) {
    const auto& items = value.as_list().items;
    if (index < 0) index += static_cast<int64_t>(items.size());
    if (index < 0 || index >= static_cast<int64_t>(items.size())) return std::nullopt;
    return items[static_cast<size_t>(index)];
  }
  if (value.is_string()) {
    const int64_t length = Length(value);
    if (index < 0) index += length;
    if (index < 0 || index >= length) return std::nullopt;
    std::string_view rest = value.as_string();
    for (; index > 0; --index) rest.remove_prefix(DecodeUtf8(rest).length);
    return Value(rest.substr(0, DecodeUtf8(rest).length));
  }
  return std::nullopt;
}

Value Slice(const Value& value, const Value& start, const Value& stop, const Value& step) {
  RequireDefined(value);
  if (value.is_string()) {
    const std::vector<char32_t> chars = ToChars(value.as_string());
    std::string out;
    ForSlice(SliceBounds(start, stop, step, static_cast<int64_t>(chars.size())),
             [&](size_t i) { AppendUtf8(chars[i], &out); });
    return Value(std::move(out));
  }
  if (!value.is_list()) {
    Fail("'" + std::string(TypeName(value)) + "' object is not subscriptable by a slice");
  }
  const List& list = value.as_list();
  std::vector<Value> items;
  ForSlice(SliceBounds(start, stop, step, static_cast<int64_t>(list.items.size())),
           [&](size_t i) { items.push_back(list.items[i]); });
  return list.is_tuple ? Value::MakeTuple(std::move(items)) : Value::MakeList(std::move(items));
}

std::vector<char32_t> ToChars(std::string_view text) {
  std::vector<char32_t> chars;
  chars.reserve(text.size());
  while (!text.empty()) {
    const DecodedChar c = DecodeUtf8(text);
    chars.push_back(c.value);
    text.remove_prefix(c.length);
  }
  return chars;
}

std::string FromChars(const std::vector<char32_t>& chars, size_t begin, size_t end) {
  std::string out;
  for (size_t i = begin; i < end; ++i) AppendUtf8(chars[i], &out);
  return out;
}

}  // namespace pingti::text::jinja
