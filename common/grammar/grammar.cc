// See grammar.h.
#include "common/grammar/grammar.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::grammar {

absl::Status CheckDeadline(const GrammarLimits& limits) {
  if (limits.clock->Now() < limits.deadline) return absl::OkStatus();
  return absl::DeadlineExceededError(
      "the grammar took too long to compile: expected a simpler one");
}

ExprId Grammar::Add(Expr expr) {
  constexpr int32_t kClockInterval = 1024;
  if (num_exprs() >= limits_.max_exprs) {
    if (status_.ok()) {
      status_ = absl::ResourceExhaustedError(
          Concat("the grammar has more than ", limits_.max_exprs, " parts: expected fewer"));
    }
    return 0;
  }
  if (num_exprs() % kClockInterval == kClockInterval - 1 && status_.ok()) {
    status_ = CheckDeadline(limits_);
  }
  for (const ExprId child : expr.children) {
    expr.depth = std::max(expr.depth, exprs_[child].depth + 1);
  }
  if (expr.depth > limits_.max_depth) {
    if (status_.ok()) {
      status_ = absl::ResourceExhaustedError(
          Concat("the grammar is nested more than ", limits_.max_depth, " deep: expected less"));
    }
    return 0;
  }
  exprs_.push_back(std::move(expr));
  return num_exprs() - 1;
}

ExprId Grammar::Literal(std::string_view bytes) {
  Expr expr;
  expr.kind = Kind::kLiteral;
  expr.bytes = bytes;
  return Add(std::move(expr));
}

ExprId Grammar::Class(CharClass chars) {
  Expr expr;
  expr.kind = Kind::kClass;
  expr.chars = std::move(chars);
  return Add(std::move(expr));
}

ExprId Grammar::Sequence(std::vector<ExprId> children) {
  if (children.size() == 1) return children[0];
  Expr expr;
  expr.kind = Kind::kSequence;
  expr.children = std::move(children);
  return Add(std::move(expr));
}

ExprId Grammar::Choice(std::vector<ExprId> children) {
  if (children.size() == 1) return children[0];
  Expr expr;
  expr.kind = Kind::kChoice;
  expr.children = std::move(children);
  return Add(std::move(expr));
}

ExprId Grammar::Repeat(ExprId child, int32_t min, int32_t max) {
  PINGTI_CHECK(min >= 0 && (max == kUnbounded || min <= max));
  Expr expr;
  expr.kind = Kind::kRepeat;
  expr.min = min;
  expr.max = max;
  expr.children = {child};
  return Add(std::move(expr));
}

ExprId Grammar::Call(RuleId rule) {
  Expr expr;
  expr.kind = Kind::kCall;
  expr.rule = rule;
  return Add(std::move(expr));
}

ExprId Grammar::List(std::vector<ListElement> elements, ExprId separator) {
  Expr expr;
  expr.kind = Kind::kList;
  for (const ListElement& element : elements) {
    expr.children.push_back(element.expr);
    expr.required.push_back(element.required);
  }
  expr.children.push_back(separator);
  return Add(std::move(expr));
}

RuleId Grammar::AddRule(std::string name, bool shared) {
  if (num_rules() >= limits_.max_rules) {
    if (status_.ok()) {
      status_ = absl::ResourceExhaustedError(
          Concat("the grammar has more than ", limits_.max_rules, " rules: expected fewer"));
    }
    return 0;
  }
  rules_.push_back({std::move(name), -1, shared});
  return num_rules() - 1;
}

}  // namespace pingti::grammar
