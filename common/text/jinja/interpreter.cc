// Statements. See interpreter.h; expressions are in interpreter_expr.cc.
#include "common/text/jinja/interpreter.h"

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "common/text/jinja/builtins.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/interpreter_guards.h"
#include "common/text/jinja/objects.h"
#include "common/text/jinja/value_ops.h"

namespace pingti::text::jinja {
namespace {

Symbol SymbolOf(const Ast& ast, std::string_view name) {
  const auto found = std::find(ast.symbols.begin(), ast.symbols.end(), name);
  return found == ast.symbols.end() ? -1 : static_cast<Symbol>(found - ast.symbols.begin());
}

}  // namespace

Interpreter::Interpreter(const Ast& ast, const Limits& limits,
                         std::chrono::system_clock::time_point now)
    : ast_(ast),
      limits_(limits),
      now_(now),
      budget_(limits),
      loop_(SymbolOf(ast, "loop")),
      caller_(SymbolOf(ast, "caller")),
      kwargs_(SymbolOf(ast, "kwargs")),
      varargs_(SymbolOf(ast, "varargs")) {}

Interpreter::~Interpreter() {
  for (const auto& ns : namespaces_) {
    const Dict attributes = std::exchange(ns->attributes, Dict());
  }
  for (const auto& scope : scopes_) {
    const auto variables = std::exchange(scope->variables, {});
  }
}

std::string Interpreter::Run(const boost::json::object& context) {
  const Budget::Use use(&budget_);
  TextBuilder out;
  out_ = &out;
  try {
    const ScopeGuard globals(this, nullptr);
    for (size_t i = 0; i < ast_.symbols.size(); ++i) {
      const auto* given = context.if_contains(ast_.symbols[i]);
      if (given != nullptr) scope_->Set(static_cast<Symbol>(i), FromJson(*given));
    }
    const ScopeGuard locals(this, scope_);
    ExecBody(ast_.body);
  } catch (Error& error) {
    if (error.line == 0) error.line = line_;
    throw;
  }
  return out.Take();
}

void Interpreter::Print(std::string_view text) {
  if (text.size() > limits_.max_output_bytes - std::min(out_->size(), limits_.max_output_bytes)) {
    FailLimit("more than " + std::to_string(limits_.max_output_bytes) + " bytes of output");
  }
  *out_ += text;
}

Interpreter::Flow Interpreter::ExecBody(const Body& body) {
  for (const auto& stmt : body) {
    const Flow flow = Exec(*stmt);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::Exec(const Stmt& stmt) {
  const DepthGuard depth(this);
  ChargeSteps(1);
  line_ = stmt.line;
  switch (stmt.kind) {
    case StmtKind::kData:
      Print(stmt.text);
      return Flow::kNormal;
    case StmtKind::kPrint:
      Print(ToString(Eval(*stmt.value)));
      return Flow::kNormal;
    case StmtKind::kIf:
      return ExecBody(Truth(Eval(*stmt.value)) ? stmt.body : stmt.otherwise);
    case StmtKind::kFor:
      return ExecFor(stmt);
    case StmtKind::kSet:
      Assign(stmt.target, Eval(*stmt.value));
      return Flow::kNormal;
    case StmtKind::kSetBlock:
      ExecSetBlock(stmt);
      return Flow::kNormal;
    case StmtKind::kWith:
      return ExecWith(stmt);
    case StmtKind::kMacro:
      DefineMacro(stmt);
      return Flow::kNormal;
    case StmtKind::kCallBlock:
      ExecCallBlock(stmt);
      return Flow::kNormal;
    case StmtKind::kFilter:
      ExecFilterBlock(stmt);
      return Flow::kNormal;
    case StmtKind::kGeneration:
      return ExecInScope(stmt.body);
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::ExecInScope(const Body& body) {
  const ScopeGuard scope(this, scope_);
  return ExecBody(body);
}

Interpreter::Flow Interpreter::ExecFor(const Stmt& stmt) {
  std::vector<Value> items = Iterate(Eval(*stmt.value));
  if (stmt.condition) {
    const ScopeGuard scope(this, scope_);
    std::vector<Value> kept;
    for (Value& item : items) {
      Assign(stmt.target, item);
      if (Truth(Eval(*stmt.condition))) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  return ExecLoop(stmt, std::move(items), 0);
}

namespace {

// Detaches a loop however it is left.
class LoopEnd {
 public:
  explicit LoopEnd(LoopObject* loop) : loop_(loop) {}
  ~LoopEnd() { loop_->Detach(); }
  LoopEnd(const LoopEnd&) = delete;
  LoopEnd& operator=(const LoopEnd&) = delete;

 private:
  LoopObject* loop_;
};

}  // namespace

Interpreter::Flow Interpreter::ExecLoop(const Stmt& stmt, std::vector<Value> items, int depth) {
  if (items.empty()) return ExecInScope(stmt.otherwise);
  const auto list = std::make_shared<const List>(std::move(items));
  const auto loop = std::make_shared<LoopObject>(&stmt, scope_, list, depth);
  const LoopEnd end(loop.get());
  Flow flow = Flow::kNormal;
  for (size_t i = 0; i < list->items.size() && flow != Flow::kBreak; ++i) {
    ChargeSteps(1);
    const ScopeGuard scope(this, scope_);
    loop->set_index(i);
    if (loop_ >= 0) scope_->Set(loop_, Value(std::static_pointer_cast<Object>(loop)));
    Assign(stmt.target, list->items[i]);
    flow = ExecBody(stmt.body);
  }
  return Flow::kNormal;
}

std::string Interpreter::RunRecursiveLoop(const Stmt& loop, Scope* scope, const Value& items,
                                          int depth) {
  std::vector<Value> list = Iterate(items);
  const ScopeGuard below(this, scope);
  if (loop.condition) {
    const ScopeGuard inner(this, scope_);
    std::erase_if(list, [&](const Value& item) {
      Assign(loop.target, item);
      return !Truth(Eval(*loop.condition));
    });
  }
  TextBuilder text;
  TextBuilder* outer = std::exchange(out_, &text);
  ExecLoop(loop, std::move(list), depth);
  out_ = outer;
  return text.Take();
}

Interpreter::Flow Interpreter::ExecWith(const Stmt& stmt) {
  std::vector<Value> values;
  for (const auto& [target, value] : stmt.assignments) values.push_back(Eval(*value));
  const ScopeGuard scope(this, scope_);
  for (size_t i = 0; i < values.size(); ++i) {
    Assign(stmt.assignments[i].first, std::move(values[i]));
  }
  return ExecBody(stmt.body);
}

std::string Interpreter::Captured(const Body& body) {
  TextBuilder text;
  TextBuilder* outer = std::exchange(out_, &text);
  ExecBody(body);
  out_ = outer;
  return text.Take();
}

std::string Interpreter::Capture(const Body& body, Scope* scope,
                                 std::vector<std::pair<Symbol, Value>> variables) {
  const ScopeGuard below(this, scope);
  for (auto& [symbol, value] : variables) scope_->Set(symbol, std::move(value));
  return Captured(body);
}

void Interpreter::ExecSetBlock(const Stmt& stmt) {
  Value value(Capture(stmt.body, scope_, {}));
  if (stmt.value) value = EvalFilter(*stmt.value, &value);
  Assign(stmt.target, std::move(value));
}

void Interpreter::ExecFilterBlock(const Stmt& stmt) {
  const Value text(Capture(stmt.body, scope_, {}));
  Print(ToString(EvalFilter(*stmt.value, &text)));
}

void Interpreter::DefineMacro(const Stmt& stmt) {
  for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) scope->Capture();
  scope_->Set(stmt.symbol,
              Value(std::shared_ptr<Object>(std::make_shared<MacroObject>(&stmt, scope_))));
}

void Interpreter::ExecCallBlock(const Stmt& stmt) {
  for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) scope->Capture();
  const auto caller = std::make_shared<MacroObject>(&stmt, scope_);
  Print(ToString(EvalCall(*stmt.value, Value(std::static_pointer_cast<Object>(caller)))));
}

std::string Interpreter::CallMacro(const Stmt& macro, Scope* scope, Args args) {
  const DepthGuard depth(this);
  const std::string name = "macro '" + macro.text + "'";
  const ScopeGuard below(this, scope);
  Dict extra_named;
  std::vector<std::optional<Value>> given(macro.parameters.size());
  for (size_t i = 0; i < std::min(given.size(), args.positional.size()); ++i) {
    given[i] = args.positional[i];
  }
  std::optional<Value> caller;
  for (auto& [keyword, value] : args.keyword) {
    const std::string& key = keyword;
    const auto parameter = std::find_if(macro.parameters.begin(), macro.parameters.end(),
                                        [&](const Parameter& p) { return p.name == key; });
    if (parameter != macro.parameters.end()) {
      auto& slot = given[static_cast<size_t>(parameter - macro.parameters.begin())];
      if (slot) Fail(name + " got multiple values for argument '" + key + "'");
      slot = std::move(value);
    } else if (key == "caller" && macro.uses_caller) {
      caller = std::move(value);
    } else if (macro.uses_kwargs) {
      extra_named.Set(Value(key), std::move(value));
    } else {
      Fail(name + " takes no keyword argument '" + key + "'");
    }
  }
  if (args.positional.size() > given.size() && !macro.uses_varargs) {
    Fail(name + " takes not more than " + std::to_string(given.size()) + " argument(s)");
  }
  for (size_t i = 0; i < given.size(); ++i) {
    const Parameter& parameter = macro.parameters[i];
    if (!given[i]) {
      given[i] = parameter.otherwise
                     ? Eval(*parameter.otherwise)
                     : Value::MakeUndefined("parameter '" + parameter.name + "' was not provided");
    }
    scope_->Set(parameter.symbol, *std::move(given[i]));
  }
  if (macro.uses_caller) {
    scope_->Set(caller_, caller.value_or(Value::MakeUndefined("No caller defined")));
  }
  if (macro.uses_kwargs) scope_->Set(kwargs_, Value(std::make_shared<const Dict>(extra_named)));
  if (macro.uses_varargs) {
    const auto first = std::min(given.size(), args.positional.size());
    scope_->Set(varargs_,
                Value::MakeTuple({args.positional.begin() + static_cast<std::ptrdiff_t>(first),
                                  args.positional.end()}));
  }
  return Captured(macro.body);
}

void Interpreter::Assign(const Target& target, Value value) {
  if (!target.parts.empty()) {
    std::vector<Value> items = Iterate(value);
    if (items.size() != target.parts.size()) {
      Fail(items.size() > target.parts.size()
               ? "too many values to unpack (expected " + std::to_string(target.parts.size()) + ")"
               : "not enough values to unpack (expected " + std::to_string(target.parts.size()) +
                     ", got " + std::to_string(items.size()) + ")");
    }
    for (size_t i = 0; i < items.size(); ++i) Assign(target.parts[i], std::move(items[i]));
    return;
  }
  if (target.attribute.empty()) {
    scope_->Set(target.symbol, std::move(value));
    return;
  }
  for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    if (Value* found = scope->Find(target.symbol)) {
      if (!found->is_namespace()) break;
      found->as_namespace().attributes.Set(Value(target.attribute), std::move(value));
      return;
    }
  }
  Fail("cannot assign attribute on non-namespace object");
}

Value Interpreter::MakeNamespace() {
  namespaces_.push_back(std::make_shared<Namespace>());
  return Value(namespaces_.back());
}

}  // namespace pingti::text::jinja
