// Values that only the engine makes: loop, macros, bound methods, functions, cycler, joiner, and
// the iterators that many filters give. Confined to one Render.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/text/jinja/ast.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/interpreter.h"
#include "common/text/jinja/value.h"

namespace pingti::text::jinja {

// What map, select, unique, items and others give, as Python's generators are: true, without a
// length, gone once it was iterated.
class IteratorObject : public Object {
 public:
  static Value Make(std::vector<Value> items) {
    return Value(std::shared_ptr<Object>(std::make_shared<IteratorObject>(std::move(items))));
  }
  explicit IteratorObject(std::vector<Value> items)
      : Object(DepthAround(items), items.size() * sizeof(Value)), items_(std::move(items)) {}
  std::string Repr() const override { return "<generator object>"; }
  bool callable() const override { return false; }
  bool is_iterator() const override { return true; }
  std::optional<Value> Next() override {
    if (position_ == items_.size()) return std::nullopt;
    return std::move(items_[position_++]);
  }

 private:
  std::vector<Value> items_;
  size_t position_ = 0;
};

// `loop` inside a for block; loop(items) runs a recursive block again.
class LoopObject : public Object, public std::enable_shared_from_this<LoopObject> {
 public:
  LoopObject(const Stmt* stmt, Scope* scope, std::shared_ptr<const List> items, int depth)
      : Object(items->depth + 1),
        stmt_(stmt),
        scope_(scope),
        items_(std::move(items)),
        nesting_(depth) {}
  void set_index(size_t index) { index_ = index; }
  // After its loop ended nothing can be run again, and nothing held that may hold the loop.
  void Detach() {
    scope_ = nullptr;
    last_changed_.reset();
  }

  std::string Repr() const override;
  Value Call(Interpreter* interpreter, Args args) override;
  std::optional<Value> Attribute(std::string_view name) override;
  bool Changed(Args args);
  Value Cycle(const Args& args) const;

 private:
  const Stmt* stmt_;
  Scope* scope_;
  std::shared_ptr<const List> items_;
  int nesting_;  // of recursive calls
  size_t index_ = 0;
  std::optional<std::vector<Value>> last_changed_;
};

class MacroObject : public Object {
 public:
  MacroObject(const Stmt* stmt, Scope* scope) : stmt_(stmt), scope_(scope) {}
  std::string Repr() const override { return "<Macro '" + stmt_->text + "'>"; }
  Value Call(Interpreter* interpreter, Args args) override {
    return Value(interpreter->CallMacro(*stmt_, scope_, std::move(args)));
  }
  std::optional<Value> Attribute(std::string_view name) override;

 private:
  const Stmt* stmt_;
  Scope* scope_;
};

class MethodObject : public Object {
 public:
  MethodObject(Value self, std::string name, Method method)
      : Object(self.depth() + 1), self_(std::move(self)), name_(std::move(name)), method_(method) {}
  std::string Repr() const override {
    return "<built-in method " + name_ + " of " + std::string(TypeName(self_)) + " object>";
  }
  Value Call(Interpreter* interpreter, Args args) override {
    return method_(interpreter, self_, args);
  }

 private:
  Value self_;
  std::string name_;
  Method method_;
};

// A global function, or a method of loop, cycler or joiner bound to its object.
class FunctionObject : public Object {
 public:
  using Function = std::function<Value(Interpreter*, Args)>;
  // `depth`: that of what `function` holds.
  FunctionObject(std::string name, Function function, int depth)
      : Object(depth), name_(std::move(name)), function_(std::move(function)) {}
  std::string Repr() const override { return "<function " + name_ + ">"; }
  Value Call(Interpreter* interpreter, Args args) override {
    return function_(interpreter, std::move(args));
  }

 private:
  std::string name_;
  Function function_;
};

// cycler('odd', 'even'): next(), current, reset().
class CyclerObject : public Object, public std::enable_shared_from_this<CyclerObject> {
 public:
  explicit CyclerObject(std::vector<Value> items)
      : Object(DepthAround(items), items.size() * sizeof(Value)), items_(std::move(items)) {}
  std::string Repr() const override { return "<Cycler>"; }
  bool callable() const override { return false; }
  std::optional<Value> Attribute(std::string_view name) override;

 private:
  std::vector<Value> items_;
  size_t position_ = 0;
};

// joiner(', '): nothing on the first call, the separator afterwards.
class JoinerObject : public Object {
 public:
  explicit JoinerObject(std::string separator) : separator_(std::move(separator)) {}
  std::string Repr() const override { return "<Joiner>"; }
  Value Call(Interpreter* interpreter, Args args) override;

 private:
  std::string separator_;
  bool used_ = false;
};

}  // namespace pingti::text::jinja
