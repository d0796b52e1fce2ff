// Methods of lists, tuples and dicts. See builtins.h; methods of text are in methods_text.cc.
#include <algorithm>

#include "common/text/jinja/builtins.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/interpreter.h"
#include "common/text/jinja/value_ops.h"

namespace pingti::text::jinja {
namespace {

struct MethodEntry {
  std::string_view name;
  Method method;
};

Value DictItems(Interpreter* interpreter, const Value& self, const Args& args) {
  const BoundArgs bound("items", args, {});
  ChargeSize(self.as_dict().entries().size() * sizeof(Value));
  std::vector<Value> items;
  for (const auto& [key, value] : self.as_dict().entries()) {
    items.push_back(Value::MakeTuple({key, value}));
  }
  return Value::MakeList(std::move(items));
}

Value DictKeys(Interpreter* interpreter, const Value& self, const Args& args) {
  const BoundArgs bound("keys", args, {});
  return Value::MakeList(Iterate(self));
}

Value DictValues(Interpreter* interpreter, const Value& self, const Args& args) {
  const BoundArgs bound("values", args, {});
  ChargeSize(self.as_dict().entries().size() * sizeof(Value));
  std::vector<Value> values;
  for (const auto& [key, value] : self.as_dict().entries()) values.push_back(value);
  return Value::MakeList(std::move(values));
}

Value DictGet(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("get", args, {"key", "default"});
  RequireHashable(bound.Required(0));
  const Value* found = self.as_dict().Find(bound.Required(0));
  return found != nullptr ? *found : bound.Or(1, Value());
}

Value DictFromKeys(Interpreter*, const Value&, const Args& args) {
  const BoundArgs bound("fromkeys", args, {"iterable", "value"});
  Dict dict;
  for (Value& key : Iterate(bound.Required(0))) dict.Set(std::move(key), bound.Or(1, Value()));
  return Value(std::make_shared<const Dict>(std::move(dict)));
}

Value Copy(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("copy", args, {});
  return self;  // nothing can change either
}

Value ListCount(Interpreter*, const Value& self, const Args& args) {
  const Value wanted = BoundArgs("count", args, {"value"}).Required(0);
  const auto& items = self.as_list().items;
  ChargeSteps(items.size());
  return Value(static_cast<int64_t>(std::count_if(
      items.begin(), items.end(), [&](const Value& item) { return Equal(item, wanted); })));
}

Value ListIndex(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("index", args, {"value", "start", "stop"});
  const auto& items = self.as_list().items;
  const auto size = static_cast<int64_t>(items.size());
  const auto clamp = [size](int64_t i) {
    return std::clamp<int64_t>(i < 0 ? i + size : i, 0, size);
  };
  const int64_t stop = clamp(bound.Int(2, size));
  for (int64_t i = clamp(bound.Int(1, 0)); i < stop; ++i) {
    ChargeSteps(1);
    if (Equal(items[static_cast<size_t>(i)], bound.Required(0))) return Value(i);
  }
  Fail(Repr(bound.Required(0)) + " is not in list");
}

constexpr MethodEntry kDictMethods[] = {{"copy", Copy},     {"fromkeys", DictFromKeys},
                                        {"get", DictGet},   {"items", DictItems},
                                        {"keys", DictKeys}, {"values", DictValues}};
constexpr MethodEntry kListMethods[] = {{"copy", Copy}, {"count", ListCount}, {"index", ListIndex}};

template <size_t n>
Method FindIn(const MethodEntry (&entries)[n], std::string_view name) {
  for (const MethodEntry& entry : entries) {
    if (entry.name == name) return entry.method;
  }
  return nullptr;
}

}  // namespace

Method FindMethod(const Value& self, std::string_view name) {
  if (self.is_string()) return FindTextMethod(name, self.is_markup());
  if (self.is_dict()) return FindIn(kDictMethods, name);
  if (self.is_list()) {
    return self.as_list().is_tuple && name == "copy" ? nullptr : FindIn(kListMethods, name);
  }
  return nullptr;
}

bool IsMutatingMethod(const Value& self, std::string_view name) {
  constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  constexpr std::string_view kList[] = {"append", "clear",  "extend",  "insert",
                                        "pop",    "remove", "reverse", "sort"};
  if (self.is_dict()) return std::find(std::begin(kDict), std::end(kDict), name) != std::end(kDict);
  if (self.is_list() && !self.as_list().is_tuple) {
    return std::find(std::begin(kList), std::end(kList), name) != std::end(kList);
  }
  return false;
}

}  // namespace pingti::text::jinja
