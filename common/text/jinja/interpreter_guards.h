// Scope and depth bookkeeping of the Interpreter, undone when a block is left by any way. Private
// to the two interpreter files.
#pragma once

#include <memory>
#include <string>

#include "common/text/jinja/error.h"
#include "common/text/jinja/interpreter.h"

namespace pingti::text::jinja {

// Enters a new scope below `parent`, returns to the current one when it ends. Scopes are used again
// unless a macro may still look into them.
class Interpreter::ScopeGuard {
 public:
  ScopeGuard(Interpreter* interpreter, Scope* parent)
      : interpreter_(interpreter), outer_(interpreter->scope_) {
    if (interpreter->free_scopes_.empty()) {
      interpreter->scopes_.push_back(std::make_unique<Scope>());
      interpreter->scope_ = interpreter->scopes_.back().get();
    } else {
      interpreter->scope_ = interpreter->free_scopes_.back();
      interpreter->free_scopes_.pop_back();
    }
    interpreter->scope_->parent = parent;
  }
  ~ScopeGuard() {
    Scope* scope = interpreter_->scope_;
    interpreter_->scope_ = outer_;
    if (scope->captured) return;
    scope->variables.clear();
    scope->held.Release();
    interpreter_->free_scopes_.push_back(scope);
  }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;

 private:
  Interpreter* interpreter_;
  Scope* outer_;
};

// Counts one level of recursion in the evaluator. A level of the template's own nesting or a macro
// call takes a few of them.
class Interpreter::DepthGuard {
 public:
  explicit DepthGuard(Interpreter* interpreter) : interpreter_(interpreter) {
    if (++interpreter_->depth_ > kLevelsPerDepth * interpreter_->limits_.max_depth) {
      FailLimit("nested more than " + std::to_string(interpreter_->limits_.max_depth) +
                " levels deep");
    }
  }
  ~DepthGuard() { --interpreter_->depth_; }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;

 private:
  static constexpr size_t kLevelsPerDepth = 6;
  Interpreter* interpreter_;
};

}  // namespace pingti::text::jinja
