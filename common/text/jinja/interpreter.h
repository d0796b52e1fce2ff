// Evaluates a parsed template. One Interpreter per Render, confined to its thread.
//
// Every evaluated node, loop round and copied block of text costs steps, values take bytes, every
// printed byte counts against the output limit, and every level of recursion against the depth
// limit, so that no template and no request runs away (budget.h). Read next: interpreter_expr.cc
// (expressions), objects.h (loop, macros).
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "boost/json/fwd.hpp"
#include "common/text/jinja/ast.h"
#include "common/text/jinja/budget.h"
#include "common/text/jinja/template.h"
#include "common/text/jinja/value.h"

namespace pingti::text::jinja {

// Variables of one block of the template; looked up through `parent`.
struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<Symbol, Value>> variables;
  bool captured = false;  // a macro may look into it later
  Held held;

  void Capture() {
    if (!std::exchange(captured, true)) held.Add(sizeof(Scope) + sizeof(void*) * 4);
  }
  Value* Find(Symbol symbol) {
    for (auto& [name, value] : variables) {
      if (name == symbol) return &value;
    }
    return nullptr;
  }
  void Set(Symbol symbol, Value value) {
    if (Value* found = Find(symbol)) {
      *found = std::move(value);
    } else {
      held.Add(2 * sizeof(variables.front()));
      variables.emplace_back(symbol, std::move(value));
    }
  }
};

class Interpreter {
 public:
  Interpreter(const Ast& ast, const Limits& limits, std::chrono::system_clock::time_point now);
  // Frees what namespaces and macros hold: they may hold one another in a ring.
  ~Interpreter();

  // Errors are thrown (error.h).
  std::string Run(const boost::json::object& context);

  // What builtins and objects use.
  Value Call(const Value& callee, Args args);
  Value GetAttribute(const Value& value, const std::string& name);
  Value GetItem(const Value& value, const Value& key);
  // The text that `body` prints, in a new scope below `scope` with `variables`.
  std::string Capture(const std::vector<std::unique_ptr<Stmt>>& body, Scope* scope,
                      std::vector<std::pair<Symbol, Value>> variables);
  std::string CallMacro(const Stmt& macro, Scope* scope, Args args);
  std::string RunRecursiveLoop(const Stmt& loop, Scope* scope, const Value& items, int depth);
  Value MakeNamespace();
  std::chrono::system_clock::time_point now() const { return now_; }

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  using Body = std::vector<std::unique_ptr<Stmt>>;
  class ScopeGuard;
  class DepthGuard;

  Flow ExecBody(const Body& body);
  Flow Exec(const Stmt& stmt);
  Flow ExecFor(const Stmt& stmt);
  Flow ExecLoop(const Stmt& stmt, std::vector<Value> items, int depth);
  Flow ExecInScope(const Body& body);
  Flow ExecWith(const Stmt& stmt);
  void ExecSetBlock(const Stmt& stmt);
  void ExecCallBlock(const Stmt& stmt);
  void ExecFilterBlock(const Stmt& stmt);
  void DefineMacro(const Stmt& stmt);
  void Assign(const Target& target, Value value);
  void Print(std::string_view text);
  std::string Captured(const Body& body);  // in the current scope

  Value Eval(const Expr& expr);
  Value EvalName(const Expr& expr);
  Value EvalSequence(const Expr& expr);
  Value EvalDict(const Expr& expr);
  Value EvalSlice(const Expr& expr);
  Value EvalCall(const Expr& expr, std::optional<Value> caller);
  Value EvalFilter(const Expr& expr, const Value* input);
  Value EvalTest(const Expr& expr);
  Value EvalArithmetic(const Expr& expr);
  Value EvalConcatenate(const Expr& expr);
  Value EvalLogic(const Expr& expr);
  Value EvalCompare(const Expr& expr);
  Value EvalConditional(const Expr& expr);
  Value EvalSign(const Expr& expr);
  Args EvalArguments(const Expr& expr);
  static bool Compare(Comparison comparison, const Value& left, const Value& right);

  const Ast& ast_;
  Limits limits_;
  std::chrono::system_clock::time_point now_;
  Budget budget_;                            // outlives the values
  Symbol loop_, caller_, kwargs_, varargs_;  // -1: the template does not mention it
  size_t depth_ = 0;
  int line_ = 0;
  TextBuilder* out_ = nullptr;
  Scope* scope_ = nullptr;
  std::vector<std::unique_ptr<Scope>> scopes_;  // all that were made
  std::vector<Scope*> free_scopes_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

}  // namespace pingti::text::jinja
