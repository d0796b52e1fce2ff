// Filters on lists, dicts and other things with items. See builtins.h.
#include <algorithm>
#include <utility>

#include "common/text/jinja/builtins.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/interpreter.h"
#include "common/text/jinja/markup.h"
#include "common/text/jinja/objects.h"
#include "common/text/jinja/value_ops.h"

namespace pingti::text::jinja {
namespace {

// The value at "a.b.0" below an item; undefined where nothing is.
class Getter {
 public:
  Getter(Interpreter* interpreter, const Value& attribute) : interpreter_(interpreter) {
    if (attribute.is_none()) return;
    if (!attribute.is_string()) {
      path_.push_back(attribute);
      return;
    }
    std::string_view rest = attribute.as_string();
    while (true) {
      const size_t dot = rest.find('.');
      const std::string_view part = rest.substr(0, dot);
      const bool number = !part.empty() && part.size() < 10 &&
                          part.find_first_not_of("0123456789") == std::string_view::npos;
      path_.push_back(number ? Value(static_cast<int64_t>(std::stoll(std::string(part))))
                             : Value(part));
      if (dot == std::string_view::npos) break;
      rest.remove_prefix(dot + 1);
    }
  }
  Value operator()(Value item) const {
    for (const Value& key : path_) item = interpreter_->GetItem(item, key);
    return item;
  }

 private:
  Interpreter* interpreter_;
  std::vector<Value> path_;
};

// Text compares without case unless asked otherwise.
Value Folded(const Value& value, bool case_sensitive) {
  return value.is_string() && !case_sensitive ? Value(ToLower(value.as_string())) : value;
}

std::vector<Value> Items(const Value& input) {
  std::vector<Value> items = Iterate(input);
  ChargeSteps(items.size() + 1);
  return items;
}

Value Pair(Value a, Value b) { return Value::MakeTuple({std::move(a), std::move(b)}); }

Value LengthFilter(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("length", args, {});
  return Value(Length(input));
}

Value First(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("first", args, {});
  if (input.is_iterator()) {
    std::optional<Value> next = input.as_object().Next();
    return next ? *std::move(next) : Value::MakeUndefined("No first item, sequence was empty.");
  }
  const std::vector<Value> items = Items(input);
  return items.empty() ? Value::MakeUndefined("No first item, sequence was empty.") : items.front();
}

Value Last(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("last", args, {});
  if (input.is_iterator()) Fail("'generator' object is not reversible");
  const std::vector<Value> items = Items(input);
  return items.empty() ? Value::MakeUndefined("No last item, sequence was empty.") : items.back();
}

Value ListFilter(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("list", args, {});
  return Value::MakeList(Items(input));
}

Value Join(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("join", args, {"d", "attribute"});
  const std::string separator = bound.Has(0) ? ToString(bound.Required(0)) : "";
  const Getter get(interpreter, bound.Or(1, Value()));
  TextBuilder out;
  bool first = true;
  for (const Value& item : Items(input)) {
    if (!first) out += separator;
    first = false;
    out += ToString(get(item));
  }
  return Value(out.Take());
}

Value Reverse(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("reverse", args, {});
  std::vector<Value> items = Items(input);
  std::reverse(items.begin(), items.end());
  if (input.is_iterator()) return Value::MakeList(std::move(items));
  if (!input.is_string()) return IteratorObject::Make(std::move(items));
  std::string out;
  for (const Value& item : items) out += item.as_string();
  return Alike(input, Value(std::move(out)));
}

template <typename T, typename Key>
void StableSort(std::vector<T>* items, bool reverse, Key key) {
  std::vector<std::pair<Value, T>> keyed;
  for (T& item : *items) {
    Value k = key(item);
    keyed.emplace_back(std::move(k), std::move(item));
  }
  const auto less = [&](const auto& a, const auto& b) {
    ChargeSteps(1);
    return reverse ? Less(b.first, a.first) : Less(a.first, b.first);
  };
  std::stable_sort(keyed.begin(), keyed.end(), less);
  for (size_t i = 0; i < keyed.size(); ++i) (*items)[i] = std::move(keyed[i].second);
}

Value Sort(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("sort", args, {"reverse", "case_sensitive", "attribute"});
  std::vector<Value> items = Items(input);
  const bool case_sensitive = bound.Bool(1, false);
  std::vector<Getter> getters;
  const Value attribute = bound.Or(2, Value());
  std::string_view rest = attribute.is_string() ? attribute.as_string() : std::string_view();
  while (attribute.is_string() && rest.find(',') != std::string_view::npos) {
    getters.emplace_back(interpreter, Value(rest.substr(0, rest.find(','))));
    rest.remove_prefix(rest.find(',') + 1);
  }
  getters.emplace_back(interpreter, attribute.is_string() ? Value(rest) : attribute);
  StableSort(&items, bound.Bool(0, false), [&](const Value& item) {
    std::vector<Value> keys;
    for (const Getter& get : getters) keys.push_back(Folded(get(item), case_sensitive));
    return Value::MakeList(std::move(keys));
  });
  return Value::MakeList(std::move(items));
}

Value Dictsort(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("dictsort", args, {"case_sensitive", "by", "reverse"});
  const std::string by = bound.StringOr(1, "key");
  if (by != "key" && by != "value") Fail("You can only sort by either \"key\" or \"value\"");
  if (!input.is_dict()) Fail("dictsort needs a mapping");
  std::vector<Dict::Entry> entries = input.as_dict().entries();
  const bool case_sensitive = bound.Bool(0, false);
  StableSort(&entries, bound.Bool(2, false), [&](const Dict::Entry& entry) {
    return Folded(by == "key" ? entry.first : entry.second, case_sensitive);
  });
  std::vector<Value> pairs;
  for (Dict::Entry& entry : entries) pairs.push_back(Pair(entry.first, entry.second));
  return Value::MakeList(std::move(pairs));
}

Value ItemsFilter(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("items", args, {});
  std::vector<Value> pairs;
  if (input.is_undefined()) return IteratorObject::Make(std::move(pairs));
  if (!input.is_dict()) Fail("Can only get item pairs from a mapping.");
  for (const auto& [key, value] : input.as_dict().entries()) pairs.push_back(Pair(key, value));
  return IteratorObject::Make(std::move(pairs));
}

Value Unique(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("unique", args, {"case_sensitive", "attribute"});
  const Getter get(interpreter, bound.Or(1, Value()));
  Dict seen;
  std::vector<Value> out;
  for (Value& item : Items(input)) {
    const Value key = Folded(get(item), bound.Bool(0, false));
    if (seen.Find(key) != nullptr) continue;
    seen.Set(key, Value());
    out.push_back(std::move(item));
  }
  return IteratorObject::Make(std::move(out));
}

template <bool is_max>
Value Extreme(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound(is_max ? "max" : "min", args, {"case_sensitive", "attribute"});
  const Getter get(interpreter, bound.Or(1, Value()));
  const bool case_sensitive = bound.Bool(0, false);
  std::optional<Value> best, best_key;
  for (const Value& item : Items(input)) {
    Value key = Folded(get(item), case_sensitive);
    if (best && !(is_max ? Less(*best_key, key) : Less(key, *best_key))) continue;
    best = item;
    best_key = std::move(key);
  }
  return best ? *best : Value::MakeUndefined("No aggregated item, sequence was empty.");
}

Value Sum(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("sum", args, {"attribute", "start"});
  const Getter get(interpreter, bound.Or(0, Value()));
  Value total = bound.Or(1, Value(int64_t{0}));
  for (const Value& item : Items(input)) {
    total = Arithmetic(BinaryOp::kAdd, total, get(item));
  }
  return total;
}

Value Batch(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("batch", args, {"linecount", "fill_with"});
  bound.Required(0);
  const int64_t size = bound.Int(0, 1);
  if (size < 1) Fail("batch: linecount must be positive");
  std::vector<Value> batches, current;
  for (Value& item : Items(input)) {
    if (static_cast<int64_t>(current.size()) == size) {
      batches.push_back(Value::MakeList(std::exchange(current, {})));
    }
    current.push_back(std::move(item));
  }
  if (!current.empty()) {
    const Value fill = bound.Or(1, Value());
    if (!fill.is_none()) {
      ChargeSize(std::min<size_t>(static_cast<size_t>(size), SIZE_MAX / sizeof(Value)) *
                 sizeof(Value));
      current.resize(static_cast<size_t>(size), fill);
    }
    batches.push_back(Value::MakeList(std::move(current)));
  }
  return IteratorObject::Make(std::move(batches));
}

Value SliceFilter(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("slice", args, {"slices", "fill_with"});
  bound.Required(0);
  const int64_t slices = bound.Int(0, 1);
  if (slices < 1) Fail("slice: slices must be positive");
  ChargeSize(std::min<size_t>(static_cast<size_t>(slices), SIZE_MAX / sizeof(Value)) *
             sizeof(Value));
  const std::vector<Value> items = Items(input);
  const auto count = static_cast<size_t>(slices);
  const size_t each = items.size() / count, extra = items.size() % count;
  const Value fill = bound.Or(1, Value());
  std::vector<Value> out;
  size_t pos = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t size = each + (i < extra ? 1 : 0);
    std::vector<Value> part(items.begin() + static_cast<std::ptrdiff_t>(pos),
                            items.begin() + static_cast<std::ptrdiff_t>(pos + size));
    pos += size;
    if (!fill.is_none() && i >= extra) part.push_back(fill);
    out.push_back(Value::MakeList(std::move(part)));
  }
  return IteratorObject::Make(std::move(out));
}

Value Groupby(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("groupby", args, {"attribute", "default", "case_sensitive"});
  const Getter get(interpreter, bound.Required(0));
  const bool case_sensitive = bound.Bool(2, false);
  const auto plain_key = [&](const Value& item) {
    Value value = get(item);
    return value.is_undefined() && bound.Has(1) ? bound.Required(1) : value;
  };
  std::vector<Value> items = Items(input);
  StableSort(&items, false,
             [&](const Value& item) { return Folded(plain_key(item), case_sensitive); });
  std::vector<Value> groups, current;
  Value key, folded;
  const auto flush = [&] {
    if (!current.empty()) {
      groups.push_back(Value::MakeGroup(key, Value::MakeList(std::exchange(current, {}))));
    }
  };
  for (Value& item : items) {
    const Value plain = plain_key(item);
    const Value next = Folded(plain, case_sensitive);
    if (current.empty() || !Equal(next, folded)) {
      flush();
      key = plain;
      folded = next;
    }
    current.push_back(std::move(item));
  }
  flush();
  return Value::MakeList(std::move(groups));
}

Args Rest(const Args& args, size_t from) {
  Args rest;
  rest.positional.assign(args.positional.begin() + static_cast<std::ptrdiff_t>(from),
                         args.positional.end());
  rest.keyword = args.keyword;
  return rest;
}

Value Map(Interpreter* interpreter, const Value& input, const Args& args) {
  if (!Truth(input)) return IteratorObject::Make({});
  std::vector<Value> items = Items(input);
  if (args.positional.empty()) {
    const BoundArgs bound("map", Args{{}, args.keyword}, {"attribute", "default"});
    const Getter get(interpreter, bound.Required(0));
    for (Value& item : items) {
      item = get(item);
      if (item.is_undefined() && bound.Has(1)) item = bound.Required(1);
    }
    return IteratorObject::Make(std::move(items));
  }
  const std::string name = ToString(args.positional[0]);
  const FilterEntry* filter = FindFilter(name);
  if (filter == nullptr) Fail(FilterRefusal(name));
  const Args rest = Rest(args, 1);
  for (Value& item : items) item = filter->apply(interpreter, item, rest);
  return IteratorObject::Make(std::move(items));
}

// select, reject and their attr forms: keep the items whose (attribute's) test gives `wanted`.
template <bool wanted, bool by_attribute>
Value Select(Interpreter* interpreter, const Value& input, const Args& args) {
  if (!Truth(input)) return IteratorObject::Make({});
  size_t used = 0;
  Value attribute;
  if (by_attribute) {
    if (args.positional.empty()) Fail("Missing parameter for attribute name");
    attribute = args.positional[used++];
  }
  const Getter get(interpreter, attribute);
  const TestEntry* test = nullptr;
  if (args.positional.size() > used) {
    const std::string name = ToString(args.positional[used++]);
    test = FindTest(name);
    if (test == nullptr) Fail("No test named '" + name + "'.");
  }
  const Args rest = Rest(args, used);
  std::vector<Value> out;
  for (Value& item : Items(input)) {
    const Value value = get(item);
    const bool passes = test != nullptr ? test->apply(interpreter, value, rest) : Truth(value);
    if (passes == wanted) out.push_back(std::move(item));
  }
  return IteratorObject::Make(std::move(out));
}

Value Attr(Interpreter* interpreter, const Value& input, const Args& args) {
  const BoundArgs bound("attr", args, {"name"});
  const std::string name = ToString(bound.Required(0));
  // Attributes only: a dict's keys are not among them.
  if (input.is_dict() && FindMethod(input, name) == nullptr) {
    return Value::MakeUndefined("'dict object' has no attribute '" + name + "'");
  }
  return interpreter->GetAttribute(input, name);
}

constexpr FilterEntry kSequenceFilters[] = {
    {"attr", Attr},
    {"batch", Batch},
    {"count", LengthFilter},
    {"dictsort", Dictsort},
    {"first", First},
    {"groupby", Groupby},
    {"items", ItemsFilter},
    {"join", Join},
    {"last", Last},
    {"length", LengthFilter},
    {"list", ListFilter},
    {"map", Map},
    {"max", Extreme<true>},
    {"min", Extreme<false>},
    {"reject", Select<false, false>},
    {"rejectattr", Select<false, true>},
    {"reverse", Reverse},
    {"select", Select<true, false>},
    {"selectattr", Select<true, true>},
    {"slice", SliceFilter},
    {"sort", Sort},
    {"sum", Sum},
    {"unique", Unique},
};

}  // namespace

const FilterEntry* FindSequenceFilter(std::string_view name) {
  for (const FilterEntry& entry : kSequenceFilters) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

}  // namespace pingti::text::jinja
