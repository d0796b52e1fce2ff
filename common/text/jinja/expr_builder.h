// Makes nodes of the tree for the two expression parsers. Private to the parser.
#pragma once

#include <memory>

#include "common/text/jinja/ast.h"

namespace pingti::text::jinja {

using ExprPtr = std::unique_ptr<Expr>;

ExprPtr Make(ExprKind kind, int line);
ExprPtr MakeConstant(Value value, int line);
ExprPtr MakeOperation(ExprKind kind, int line, ExprPtr left, ExprPtr right);

// To be called when all children of an expression are in place. Chains such as 1+1+1+... nest on
// the left without nesting in the source: a tree too high is refused (error.h).
ExprPtr Seal(ExprPtr expr);

}  // namespace pingti::text::jinja
