// A value of the template language, with the meaning it has in Python.
//
// Values are cheap to copy: text and containers are shared and never changed after they were built
// (templates run in an immutable sandbox), except a namespace's attributes. All of them take from
// the budget of the rendering that makes them (budget.h). Confined to the thread that renders. Read
// next: value_ops.h for what can be done with values.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "boost/json/fwd.hpp"
#include "common/text/jinja/budget.h"

namespace pingti::text::jinja {

class Value;
class Interpreter;
struct BigInteger;

struct Text {
  explicit Text(std::string s, bool is_markup = false);

  const std::string text;
  const bool is_markup;  // as the filter `safe` makes it, markup.h
  const Held held;
};

// The result of a look-up that found nothing: prints as nothing, is false and empty, and fails when
// more is asked of it, with `message`.
struct Undefined {
  std::shared_ptr<const Text> message;
};
struct None {};

struct List;
class Dict;
struct Namespace;

// Arguments of a call, a filter or a test.
struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;
};

// Something callable or something with attributes that templates cannot build themselves: macros,
// bound methods, loop, cycler, joiner, iterators.
class Object {
 public:
  // `depth`: that of the values it holds; `bytes`: what it takes for them. Errors: nested too
  // deeply.
  explicit Object(int depth = 0, size_t bytes = 0);
  virtual ~Object() = default;
  int depth() const { return depth_; }
  virtual std::string Repr() const = 0;
  virtual bool callable() const { return true; }
  virtual Value Call(Interpreter* interpreter, Args args);
  // nullopt: no such attribute.
  virtual std::optional<Value> Attribute(std::string_view name);
  // Iterators give each item once.
  virtual bool is_iterator() const { return false; }
  virtual std::optional<Value> Next();

 private:
  int depth_;
  Held held_;
};

class Value {
 public:
  Value() : data_(None{}) {}
  Value(None none) : data_(none) {}
  Value(bool b) : data_(b) {}
  Value(int64_t i) : data_(i) {}
  Value(int) = delete;  // write int64_t, so that bool and int never mix by accident
  Value(double d) : data_(d) {}
  Value(std::shared_ptr<const BigInteger> i) : data_(std::move(i)) {}  // beyond int64_t
  Value(std::string s) : data_(std::make_shared<const Text>(std::move(s))) {}
  Value(std::string_view s) : Value(std::string(s)) {}
  Value(const char* s) : Value(std::string(s)) {}
  Value(std::shared_ptr<const List> list) : data_(std::move(list)) {}
  Value(std::shared_ptr<const Dict> dict) : data_(std::move(dict)) {}
  Value(std::shared_ptr<Namespace> ns) : data_(std::move(ns)) {}
  Value(std::shared_ptr<Object> object) : data_(std::move(object)) {}
  static Value MakeUndefined(std::string message);
  static Value MakeMarkup(std::string text);
  static Value MakeList(std::vector<Value> items);
  static Value MakeTuple(std::vector<Value> items);
  static Value MakeGroup(Value grouper, Value list);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  // Python's int of any length, which True and False are too.
  bool is_int() const {
    return std::holds_alternative<int64_t>(data_) || is_bool() || as_big_integer() != nullptr;
  }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_int() || is_float(); }
  bool is_string() const { return std::holds_alternative<std::shared_ptr<const Text>>(data_); }
  bool is_markup() const {
    return is_string() && std::get<std::shared_ptr<const Text>>(data_)->is_markup;
  }
  bool is_list() const { return std::holds_alternative<std::shared_ptr<const List>>(data_); }
  bool is_dict() const { return std::holds_alternative<std::shared_ptr<const Dict>>(data_); }
  bool is_namespace() const { return std::holds_alternative<std::shared_ptr<Namespace>>(data_); }
  bool is_iterator() const { return is_object() && as_object().is_iterator(); }
  bool is_object() const { return std::holds_alternative<std::shared_ptr<Object>>(data_); }

  // REQUIRES: the value has that type.
  bool as_bool() const { return std::get<bool>(data_); }
  // An integer that counts or points. Errors: beyond 64 bits. What computes: big_integer.h.
  int64_t as_int() const;
  // A number. Errors: an integer that is beyond double.
  double as_double() const;
  const std::string& as_string() const {
    return std::get<std::shared_ptr<const Text>>(data_)->text;
  }
  const List& as_list() const { return *std::get<std::shared_ptr<const List>>(data_); }
  const Dict& as_dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Namespace& as_namespace() const { return *std::get<std::shared_ptr<Namespace>>(data_); }
  Object& as_object() const { return *std::get<std::shared_ptr<Object>>(data_); }
  const Undefined& as_undefined() const { return std::get<Undefined>(data_); }

  // Null unless it is an integer beyond 64 bits.
  const BigInteger* as_big_integer() const {
    const auto* big = std::get_if<std::shared_ptr<const BigInteger>>(&data_);
    return big == nullptr ? nullptr : big->get();
  }

  // Whether both are one and the same object (Python's `is`).
  bool IsSame(const Value& other) const;
  // Nesting of containers, 0 for scalars.
  int depth() const;

 private:
  std::variant<Undefined, None, bool, int64_t, std::shared_ptr<const BigInteger>, double,
               std::shared_ptr<const Text>, std::shared_ptr<const List>,
               std::shared_ptr<const Dict>, std::shared_ptr<Namespace>, std::shared_ptr<Object>>
      data_;
};

struct List {
  explicit List(std::vector<Value> values);

  std::vector<Value> items;
  Held held;
  bool is_tuple = false;
  bool is_group = false;  // what groupby makes: a pair with the names `grouper` and `list`
  int depth;
};

// Insertion-ordered; equal keys as in Python (1, 1.0 and True are one key).
class Dict {
 public:
  using Entry = std::pair<Value, Value>;
  // Replaces the value of an equal key. Errors: keys that are lists, dicts or namespaces.
  void Set(Value key, Value value);
  // Null when absent, as a key that cannot be one always is.
  const Value* Find(const Value& key) const;
  const Value* Find(std::string_view key) const;
  const std::vector<Entry>& entries() const { return entries_; }
  int depth() const { return depth_; }

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> by_key_;  // positions in entries_
  int depth_ = 1;
  Held held_;
};

// What namespace() makes: the one thing a template can assign to.
struct Namespace {
  Dict attributes;
  Held held{sizeof(Dict)};
};

// One more than the deepest of `items`.
int DepthAround(const std::vector<Value>& items);

// Conversion of a request's JSON, whose integers beyond uint64 were parsed as floats. Errors: none.
Value FromJson(const boost::json::value& json);

}  // namespace pingti::text::jinja
