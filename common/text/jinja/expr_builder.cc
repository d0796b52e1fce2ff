// See expr_builder.h.
#include "common/text/jinja/expr_builder.h"

#include <algorithm>
#include <utility>

#include "common/text/jinja/error.h"

namespace pingti::text::jinja {
namespace {

constexpr int kMaxHeight = 500;

}  // namespace

ExprPtr Make(ExprKind kind, int line) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

ExprPtr Seal(ExprPtr expr) {
  int below = 0;
  const auto visit = [&below](const ExprPtr& child) {
    if (child) below = std::max(below, child->height);
  };
  for (const ExprPtr& child : expr->operands) visit(child);
  for (const ExprPtr& child : expr->positional) visit(child);
  for (const auto& [name, child] : expr->keyword) visit(child);
  visit(expr->star);
  visit(expr->double_star);
  expr->height = below + 1;
  if (expr->height > kMaxHeight) {
    throw Error{absl::StatusCode::kResourceExhausted, "expression nested more than 500 levels deep",
                expr->line};
  }
  return expr;
}

ExprPtr MakeConstant(Value value, int line) {
  ExprPtr expr = Make(ExprKind::kConstant, line);
  expr->constant = std::move(value);
  return expr;
}

ExprPtr MakeOperation(ExprKind kind, int line, ExprPtr left, ExprPtr right) {
  ExprPtr expr = Make(kind, line);
  expr->operands.push_back(std::move(left));
  expr->operands.push_back(std::move(right));
  return Seal(std::move(expr));
}

}  // namespace pingti::text::jinja
