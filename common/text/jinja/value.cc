// See value.h.
#include "common/text/jinja/value.h"

#include <algorithm>
#include <boost/json.hpp>

#include "common/text/jinja/error.h"
#include "common/text/jinja/value_ops.h"

namespace pingti::text::jinja {
namespace {

// Deeper values can only be built on purpose; printing and freeing them is recursive.
constexpr int kMaxValueDepth = 500;

int CheckedDepth(int depth) {
  if (depth > kMaxValueDepth) FailLimit("value nested more than 500 levels deep");
  return depth;
}

Value Shared(std::vector<Value> items, bool is_tuple, bool is_group) {
  auto list = std::make_shared<List>();
  list->depth = CheckedDepth(DepthAround(items));
  list->items = std::move(items);
  list->is_tuple = is_tuple;
  list->is_group = is_group;
  return Value(std::shared_ptr<const List>(std::move(list)));
}

}  // namespace

int DepthAround(const std::vector<Value>& items) {
  int deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, item.depth());
  return deepest + 1;
}

Object::Object(int depth) : depth_(CheckedDepth(depth)) {}

std::optional<Value> Object::Next() { return std::nullopt; }

Value Object::Call(Interpreter* interpreter, Args args) {
  Fail("'" + Repr() + "' object is not callable");
}

std::optional<Value> Object::Attribute(std::string_view name) { return std::nullopt; }

Value Value::MakeUndefined(std::string message) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(message))};
  return value;
}

Value Value::MakeList(std::vector<Value> items) { return Shared(std::move(items), false, false); }

Value Value::MakeTuple(std::vector<Value> items) { return Shared(std::move(items), true, false); }

Value Value::MakeGroup(Value grouper, Value list) {
  return Shared({std::move(grouper), std::move(list)}, true, true);
}

bool Value::IsSame(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_none() || is_bool() || is_int() || is_float() || is_string()) {
    return Equal(*this, other);  // CPython shares small and equal constants
  }
  if (is_list()) return &as_list() == &other.as_list();
  if (is_dict()) return &as_dict() == &other.as_dict();
  if (is_namespace()) return &as_namespace() == &other.as_namespace();
  if (is_object()) return &as_object() == &other.as_object();
  return false;
}

int Value::depth() const {
  if (is_list()) return as_list().depth;
  if (is_dict()) return as_dict().depth();
  if (is_object()) return as_object().depth();
  return 0;
}

void Dict::Set(Value key, Value value) {
  RequireHashable(key);
  depth_ = CheckedDepth(std::max(depth_, value.depth() + 1));
  if (key.is_string()) {
    const auto [position, inserted] = strings_.emplace(key.as_string(), entries_.size());
    if (inserted) {
      entries_.emplace_back(std::move(key), std::move(value));
    } else {
      entries_[position->second].second = std::move(value);
    }
    return;
  }
  for (Entry& entry : entries_) {
    if (!entry.first.is_string() && Equal(entry.first, key)) {
      entry.second = std::move(value);
      return;
    }
  }
  entries_.emplace_back(std::move(key), std::move(value));
}

const Value* Dict::Find(const Value& key) const {
  if (key.is_string()) return Find(std::string_view(key.as_string()));
  for (const Entry& entry : entries_) {
    if (!entry.first.is_string() && Equal(entry.first, key)) return &entry.second;
  }
  return nullptr;
}

const Value* Dict::Find(std::string_view key) const {
  if (entries_.size() <= 8) {
    for (const Entry& entry : entries_) {
      if (entry.first.is_string() && entry.first.as_string() == key) return &entry.second;
    }
    return nullptr;
  }
  const auto position = strings_.find(std::string(key));
  return position == strings_.end() ? nullptr : &entries_[position->second].second;
}

Value FromJson(const boost::json::value& json) {
  switch (json.kind()) {
    case boost::json::kind::null:
      return Value();
    case boost::json::kind::bool_:
      return Value(json.get_bool());
    case boost::json::kind::int64:
      return Value(static_cast<int64_t>(json.get_int64()));
    case boost::json::kind::uint64:
      return Value(static_cast<double>(json.get_uint64()));
    case boost::json::kind::double_:
      return Value(json.get_double());
    case boost::json::kind::string:
      return Value(std::string_view(json.get_string()));
    case boost::json::kind::array: {
      std::vector<Value> items;
      items.reserve(json.get_array().size());
      for (const auto& item : json.get_array()) items.push_back(FromJson(item));
      return Value::MakeList(std::move(items));
    }
    case boost::json::kind::object: {
      auto dict = std::make_shared<Dict>();
      for (const auto& member : json.get_object()) {
        dict->Set(Value(std::string_view(member.key())), FromJson(member.value()));
      }
      return Value(std::shared_ptr<const Dict>(std::move(dict)));
    }
  }
  return Value();
}

}  // namespace pingti::text::jinja
