// Argument binding, tests and global functions. See builtins.h.
#include "common/text/jinja/builtins.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <utility>

#include "common/base/strings.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/interpreter.h"
#include "common/text/jinja/objects.h"
#include "common/text/jinja/value_ops.h"

namespace pingti::text::jinja {

BoundArgs::BoundArgs(std::string_view function, const Args& args,
                     std::initializer_list<std::string_view> parameters)
    : function_(function), parameters_(parameters), values_(parameters.size()) {
  if (args.positional.size() > parameters_.size()) {
    Fail(std::string(function) + " takes at most " + std::to_string(parameters_.size()) +
         " argument(s), got " + std::to_string(args.positional.size()));
  }
  for (size_t i = 0; i < args.positional.size(); ++i) values_[i] = args.positional[i];
  for (const auto& [name, value] : args.keyword) {
    const auto parameter = std::find(parameters_.begin(), parameters_.end(), name);
    if (parameter == parameters_.end()) {
      Fail(std::string(function) + " got an unexpected keyword argument '" + name + "'");
    }
    auto& slot = values_[static_cast<size_t>(parameter - parameters_.begin())];
    if (slot) Fail(std::string(function) + " got multiple values for argument '" + name + "'");
    slot = value;
  }
}

const Value& BoundArgs::Required(size_t i) const {
  if (!values_[i]) {
    Fail(std::string(function_) + " is missing its argument '" + std::string(parameters_[i]) + "'");
  }
  return *values_[i];
}

bool BoundArgs::Bool(size_t i, bool otherwise) const {
  return values_[i] ? Truth(*values_[i]) : otherwise;
}

int64_t BoundArgs::Int(size_t i, int64_t otherwise) const {
  if (!values_[i]) return otherwise;
  if (!values_[i]->is_int()) {
    RequireDefined(*values_[i]);
    Fail(std::string(function_) + ": argument '" + std::string(parameters_[i]) +
         "' must be an integer, not " + std::string(TypeName(*values_[i])));
  }
  return values_[i]->as_int();
}

const std::string& BoundArgs::String(size_t i) const {
  const Value& value = Required(i);
  if (!value.is_string()) {
    RequireDefined(value);
    Fail(std::string(function_) + ": argument '" + std::string(parameters_[i]) +
         "' must be str, not " + std::string(TypeName(value)));
  }
  return value.as_string();
}

std::string BoundArgs::StringOr(size_t i, std::string_view otherwise) const {
  return values_[i] ? String(i) : std::string(otherwise);
}

namespace {

// Whether `value % divisor` is `wanted`.
bool LeavesRemainder(const Value& value, const Value& divisor, int64_t wanted,
                     std::string_view test) {
  if (!value.is_number()) {
    RequireDefined(value);
    Fail("test '" + std::string(test) + "' needs a number, not " + std::string(TypeName(value)));
  }
  return Equal(Arithmetic(BinaryOp::kModulo, value, divisor), Value(wanted));
}

template <bool (*compare)(const Value&, const Value&)>
bool CompareTest(Interpreter*, const Value& value, const Args& args) {
  return compare(value, BoundArgs("test", args, {"other"}).Required(0));
}
bool NotEqual(const Value& a, const Value& b) { return !Equal(a, b); }
bool Greater(const Value& a, const Value& b) { return Less(b, a); }
bool GreaterEqual(const Value& a, const Value& b) { return LessEqual(b, a); }
bool IsIn(const Value& a, const Value& b) { return Contains(b, a); }
bool IsSameAs(const Value& a, const Value& b) { return a.IsSame(b); }

bool IsLowerText(const Value& value) {
  const std::string text = ToString(value);
  return text == ToLower(text) && text != ToUpper(text);
}
bool IsUpperText(const Value& value) {
  const std::string text = ToString(value);
  return text == ToUpper(text) && text != ToLower(text);
}

bool IsSequence(const Value& v) {
  return v.is_list() || v.is_dict() || v.is_string() || v.is_undefined();
}
bool IsIterable(const Value& v) { return IsSequence(v) || v.is_iterator(); }

template <bool (*check)(const Value&)>
bool SimpleTest(Interpreter*, const Value& value, const Args& args) {
  const BoundArgs bound("test", args, {});
  return check(value);
}

constexpr TestEntry kTests[] = {
    {"!=", CompareTest<NotEqual>},
    {"<", CompareTest<Less>},
    {"<=", CompareTest<LessEqual>},
    {"==", CompareTest<Equal>},
    {">", CompareTest<Greater>},
    {">=", CompareTest<GreaterEqual>},
    {"boolean", SimpleTest<[](const Value& v) { return v.is_bool(); }>},
    {"callable", SimpleTest<[](const Value& v) {
       return v.is_undefined() || (v.is_object() && v.as_object().callable());
     }>},
    {"defined", SimpleTest<[](const Value& v) { return !v.is_undefined(); }>},
    {"divisibleby",
     [](Interpreter*, const Value& v, const Args& args) {
       const BoundArgs bound("divisibleby", args, {"num"});
       return LeavesRemainder(v, bound.Required(0), 0, "divisibleby");
     }},
    {"eq", CompareTest<Equal>},
    {"equalto", CompareTest<Equal>},
    {"escaped", SimpleTest<[](const Value& v) { return v.is_markup(); }>},
    {"even",
     SimpleTest<[](const Value& v) { return LeavesRemainder(v, Value(int64_t{2}), 0, "even"); }>},
    {"false", SimpleTest<[](const Value& v) { return v.is_bool() && !v.as_bool(); }>},
    {"filter", SimpleTest<[](const Value& v) { return FindFilter(ToString(v)) != nullptr; }>},
    {"float", SimpleTest<[](const Value& v) { return v.is_float(); }>},
    {"ge", CompareTest<GreaterEqual>},
    {"greaterthan", CompareTest<Greater>},
    {"gt", CompareTest<Greater>},
    {"in", CompareTest<IsIn>},
    {"integer", SimpleTest<[](const Value& v) { return v.is_int() && !v.is_bool(); }>},
    {"iterable", SimpleTest<IsIterable>},
    {"le", CompareTest<LessEqual>},
    {"lessthan", CompareTest<Less>},
    {"lower", SimpleTest<IsLowerText>},
    {"lt", CompareTest<Less>},
    {"mapping", SimpleTest<[](const Value& v) { return v.is_dict(); }>},
    {"ne", CompareTest<NotEqual>},
    {"none", SimpleTest<[](const Value& v) { return v.is_none(); }>},
    {"number", SimpleTest<[](const Value& v) { return v.is_number(); }>},
    {"odd",
     SimpleTest<[](const Value& v) { return LeavesRemainder(v, Value(int64_t{2}), 1, "odd"); }>},
    {"sameas", CompareTest<IsSameAs>},
    {"sequence", SimpleTest<IsSequence>},
    {"string", SimpleTest<[](const Value& v) { return v.is_string(); }>},
    {"test", SimpleTest<[](const Value& v) { return FindTest(ToString(v)) != nullptr; }>},
    {"true", SimpleTest<[](const Value& v) { return v.is_bool() && v.as_bool(); }>},
    {"undefined", SimpleTest<[](const Value& v) { return v.is_undefined(); }>},
    {"upper", SimpleTest<IsUpperText>},
};

Value Range(Interpreter*, Args args) {
  const BoundArgs bound("range", args, {"start", "stop", "step"});
  const Value zero(int64_t{0});
  const bool from_zero = !bound.Has(1);
  const Value& start = from_zero ? zero : bound.Required(0);
  const Value& stop = bound.Required(from_zero ? 0 : 1);
  const Value step = bound.Or(2, Value(int64_t{1}));
  for (const Value* number : {&start, &stop, &step}) {
    if (number->is_int()) continue;
    RequireDefined(*number);
    Fail("range needs integers, not " + std::string(TypeName(*number)));
  }
  if (!Truth(step)) Fail("range() arg 3 must not be zero");
  // Rounded up: the negative of what a negative distance rounds down to.
  const Value distance = Arithmetic(BinaryOp::kSubtract, start, stop);
  const int64_t count = ClampedInt(Negate(Arithmetic(BinaryOp::kFloorDivide, distance, step)));
  constexpr int64_t kMaxRange = 100000;  // as in Jinja's sandbox
  if (count > kMaxRange) {
    Fail("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
  }
  std::vector<Value> items;
  ChargeSteps(static_cast<size_t>(std::max<int64_t>(count, 0)));
  Value next = start;
  for (int64_t i = 0; i < count; ++i) {
    items.push_back(next.is_bool() ? Value(next.as_int()) : next);
    next = Arithmetic(BinaryOp::kAdd, next, step);
  }
  return Value::MakeList(std::move(items));
}

// What dict(...) and namespace(...) take: one mapping or list of pairs, then keywords.
Dict CollectPairs(const Args& args, std::string_view function) {
  if (args.positional.size() > 1) {
    Fail(std::string(function) + " expected at most 1 argument, got " +
         std::to_string(args.positional.size()));
  }
  Dict dict;
  if (!args.positional.empty()) {
    const Value& source = args.positional[0];
    if (source.is_dict()) {
      dict = source.as_dict();
    } else {
      for (const Value& pair : Iterate(source)) {
        std::vector<Value> items = Iterate(pair);
        if (items.size() != 2) Fail(std::string(function) + " needs pairs of key and value");
        dict.Set(std::move(items[0]), std::move(items[1]));
      }
    }
  }
  for (const auto& [name, value] : args.keyword) dict.Set(Value(name), value);
  return dict;
}

Value StrftimeNow(Interpreter* interpreter, Args args) {
  const BoundArgs bound("strftime_now", args, {"format"});
  const auto now = interpreter->now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm local{};
  localtime_r(&seconds, &local);
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() %
      1'000'000;
  std::string digits = std::to_string(micros);
  digits.insert(0, 6 - digits.size(), '0');
  // %f is Python's own: microseconds.
  std::string format;
  const std::string& given = bound.String(0);
  for (size_t i = 0; i < given.size(); ++i) {
    if (given[i] == '%' && i + 1 < given.size()) {
      format += given[i + 1] == 'f' ? digits : given.substr(i, 2);
      ++i;
    } else {
      format += given[i];
    }
  }
  if (format.empty()) return Value("");
  ChargeSize(format.size() * 16);
  std::string out(format.size() * 16 + 256, '\0');
  out.resize(std::strftime(out.data(), out.size(), format.c_str(), &local));
  return Value(std::move(out));
}

Value MakeFunction(std::string_view name, FunctionObject::Function function) {
  return Value(std::shared_ptr<Object>(
      std::make_shared<FunctionObject>(std::string(name), std::move(function), 0)));
}

}  // namespace

const TestEntry* FindTest(std::string_view name) {
  for (const TestEntry& entry : kTests) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

std::string FilterRefusal(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> kReasons[] = {
      {"random", "two renderings of one conversation must not differ"},
      {"urlize", "a prompt has no links of HTML"}};
  for (const auto& [refused, reason] : kReasons) {
    if (name == refused) return Concat("The filter '", name, "' is not supported: ", reason, ".");
  }
  return Concat("No filter named '", name, "'.");
}

const FilterEntry* FindFilter(std::string_view name) {
  const FilterEntry* entry = FindTextFilter(name);
  if (entry == nullptr) entry = FindNumberFilter(name);
  if (entry == nullptr) entry = FindMarkupFilter(name);
  return entry != nullptr ? entry : FindSequenceFilter(name);
}

std::optional<Value> FindGlobal(std::string_view name) {
  if (name == "range") return MakeFunction(name, Range);
  if (name == "namespace") {
    return MakeFunction(name, [](Interpreter* interpreter, Args args) {
      Value ns = interpreter->MakeNamespace();
      ns.as_namespace().attributes = CollectPairs(args, "namespace");
      return ns;
    });
  }
  if (name == "dict") {
    return MakeFunction(name, [](Interpreter*, Args args) {
      return Value(std::make_shared<const Dict>(CollectPairs(args, "dict")));
    });
  }
  if (name == "raise_exception") {
    return MakeFunction(name, [](Interpreter*, Args args) -> Value {
      Fail(ToString(BoundArgs("raise_exception", args, {"message"}).Required(0)));
    });
  }
  if (name == "strftime_now") return MakeFunction(name, StrftimeNow);
  if (name == "cycler") {
    return MakeFunction(name, [](Interpreter*, Args args) {
      if (args.positional.empty()) Fail("at least one item has to be provided");
      return Value(
          std::shared_ptr<Object>(std::make_shared<CyclerObject>(std::move(args.positional))));
    });
  }
  if (name == "joiner") {
    return MakeFunction(name, [](Interpreter*, Args args) {
      const BoundArgs bound("joiner", args, {"sep"});
      return Value(
          std::shared_ptr<Object>(std::make_shared<JoinerObject>(bound.StringOr(0, ", "))));
    });
  }
  if (name == "lipsum") {
    return MakeFunction(name, [](Interpreter*, Args) -> Value {
      Fail("The function 'lipsum' is not supported: it makes text at random.");
    });
  }
  return std::nullopt;
}

}  // namespace pingti::text::jinja
