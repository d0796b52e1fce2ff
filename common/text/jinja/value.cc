// See value.h.
#include "common/text/jinja/value.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

#include "common/text/jinja/big_integer.h"
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

// What an allocation takes beside the bytes that were asked for.
constexpr size_t kAllocationBytes = 48;

// An object that holds nothing of a variable size.
constexpr size_t kObjectBytes = 256;

Value Shared(std::vector<Value> items, bool is_tuple, bool is_group) {
  auto list = std::make_shared<List>(std::move(items));
  list->is_tuple = is_tuple;
  list->is_group = is_group;
  return Value(std::shared_ptr<const List>(std::move(list)));
}

// One text for all keys that are equal in Python: 1, 1.0 and True are one key.
void AppendKey(const Value& key, TextBuilder* out) {
  const auto append = [out](char kind, std::string_view bytes) {
    *out += kind;
    *out += bytes;
  };
  if (key.is_string()) return append('s', key.as_string());
  if (key.is_int()) return append('i', IntegerText(key));
  if (key.is_float()) {
    const double number = key.as_double();
    if (std::isfinite(number) && std::floor(number) == number) {
      return append('i', IntegerText(IntegerFromDouble(number)));
    }
    return append('f', FloatRepr(number));
  }
  if (key.is_none()) return append('n', "");
  if (key.is_undefined()) return append('u', "");
  if (key.is_object())
    return append('o', std::to_string(reinterpret_cast<uintptr_t>(&key.as_object())));
  append('t', std::to_string(key.as_list().items.size()));
  for (const Value& item : key.as_list().items) {
    TextBuilder inner;
    AppendKey(item, &inner);
    append('|', std::to_string(inner.size()));
    append(':', inner.Take());
  }
}

std::string KeyText(const Value& key) {
  TextBuilder out;
  AppendKey(key, &out);
  return out.Take();
}

}  // namespace

Text::Text(std::string s, bool is_markup_text)
    : text(std::move(s)),
      is_markup(is_markup_text),
      held(text.size() + sizeof(Text) + kAllocationBytes) {
  ChargeText(text.size());
}

List::List(std::vector<Value> values)
    : items(std::move(values)),
      held(items.capacity() * sizeof(Value) + sizeof(List) + kAllocationBytes),
      depth(CheckedDepth(DepthAround(items))) {
  ChargeSteps(items.size() / 8);
}

int DepthAround(const std::vector<Value>& items) {
  int deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, item.depth());
  return deepest + 1;
}

Object::Object(int depth, size_t bytes)
    : depth_(CheckedDepth(depth)), held_(kObjectBytes + bytes) {}

std::optional<Value> Object::Next() { return std::nullopt; }

Value Object::Call(Interpreter* interpreter, Args args) {
  Fail("'" + Repr() + "' object is not callable");
}

std::optional<Value> Object::Attribute(std::string_view name) { return std::nullopt; }

Value Value::MakeUndefined(std::string message) {
  Value value;
  value.data_ = Undefined{std::make_shared<const Text>(std::move(message))};
  return value;
}

Value Value::MakeMarkup(std::string text) {
  Value value;
  value.data_ = std::make_shared<const Text>(std::move(text), /*is_markup=*/true);
  return value;
}

Value Value::MakeList(std::vector<Value> items) { return Shared(std::move(items), false, false); }

Value Value::MakeTuple(std::vector<Value> items) { return Shared(std::move(items), true, false); }

Value Value::MakeGroup(Value grouper, Value list) {
  return Shared({std::move(grouper), std::move(list)}, true, true);
}

int64_t Value::as_int() const {
  if (is_bool()) return as_bool() ? 1 : 0;
  if (as_big_integer() != nullptr) {
    Fail("an integer beyond 64 bits cannot be an index, a width or a count");
  }
  return std::get<int64_t>(data_);
}

double Value::as_double() const {
  return is_float() ? std::get<double>(data_) : IntegerToDouble(*this);
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
  std::string text = KeyText(key);
  const size_t bytes = 2 * text.size() + 2 * kAllocationBytes + 2 * sizeof(Entry);
  const auto [position, inserted] = by_key_.try_emplace(std::move(text), entries_.size());
  if (!inserted) {
    entries_[position->second].second = std::move(value);
    return;
  }
  held_.Add(bytes);
  ChargeSteps(1);
  entries_.emplace_back(std::move(key), std::move(value));
}

const Value* Dict::Find(const Value& key) const {
  if (key.is_string()) return Find(std::string_view(key.as_string()));
  if (!IsHashable(key)) return nullptr;
  const auto position = by_key_.find(KeyText(key));
  return position == by_key_.end() ? nullptr : &entries_[position->second].second;
}

const Value* Dict::Find(std::string_view key) const {
  if (entries_.size() <= 8) {
    for (const Entry& entry : entries_) {
      if (entry.first.is_string() && entry.first.as_string() == key) return &entry.second;
    }
    return nullptr;
  }
  ChargeSteps(key.size() / kBytesPerStep);
  const auto position = by_key_.find("s" + std::string(key));
  return position == by_key_.end() ? nullptr : &entries_[position->second].second;
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
      return IntegerFromUnsigned(json.get_uint64());
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
