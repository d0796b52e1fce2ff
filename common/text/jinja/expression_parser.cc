// Operators of expressions, from the weakest to the strongest; operands: operand_parser.cc. See
// parser.h.
#include <algorithm>
#include <utility>

#include "common/text/jinja/expr_builder.h"
#include "common/text/jinja/parser_state.h"

namespace pingti::text::jinja {
namespace {

ExprPtr ParsePower(ParserState* state) {
  ExprPtr left = ParseUnary(state, true);
  while (state->Current().IsOperator("**")) {
    const int line = state->Take().line;
    left = MakeOperation(ExprKind::kArithmetic, line, std::move(left), ParseUnary(state, true));
    left->op = BinaryOp::kPower;
  }
  return left;
}

ExprPtr ParseProduct(ParserState* state) {
  constexpr std::pair<std::string_view, BinaryOp> kOps[] = {{"*", BinaryOp::kMultiply},
                                                            {"/", BinaryOp::kDivide},
                                                            {"//", BinaryOp::kFloorDivide},
                                                            {"%", BinaryOp::kModulo}};
  ExprPtr left = ParsePower(state);
  while (true) {
    const auto* op = std::find_if(std::begin(kOps), std::end(kOps), [&](const auto& candidate) {
      return state->Current().IsOperator(candidate.first);
    });
    if (op == std::end(kOps)) return left;
    const int line = state->Take().line;
    left = MakeOperation(ExprKind::kArithmetic, line, std::move(left), ParsePower(state));
    left->op = op->second;
  }
}

ExprPtr ParseConcatenation(ParserState* state) {
  ExprPtr first = ParseProduct(state);
  if (!state->Current().IsOperator("~")) return first;
  ExprPtr joined = Make(ExprKind::kConcatenate, state->Current().line);
  joined->operands.push_back(std::move(first));
  while (state->SkipOperator("~")) joined->operands.push_back(ParseProduct(state));
  return Seal(std::move(joined));
}

ExprPtr ParseSum(ParserState* state) {
  ExprPtr left = ParseConcatenation(state);
  while (state->Current().IsOperator("+") || state->Current().IsOperator("-")) {
    const Token op = state->Take();
    left =
        MakeOperation(ExprKind::kArithmetic, op.line, std::move(left), ParseConcatenation(state));
    left->op = op.text == "+" ? BinaryOp::kAdd : BinaryOp::kSubtract;
  }
  return left;
}

bool TakeComparison(ParserState* state, Comparison* comparison) {
  constexpr std::pair<std::string_view, Comparison> kOps[] = {
      {"==", Comparison::kEqual},  {"!=", Comparison::kNotEqual},
      {"<", Comparison::kLess},    {"<=", Comparison::kLessEqual},
      {">", Comparison::kGreater}, {">=", Comparison::kGreaterEqual}};
  for (const auto& [text, value] : kOps) {
    if (state->SkipOperator(text)) {
      *comparison = value;
      return true;
    }
  }
  if (state->SkipName("in")) {
    *comparison = Comparison::kIn;
    return true;
  }
  if (state->Current().IsName("not") && state->Look().IsName("in")) {
    state->Take();
    state->Take();
    *comparison = Comparison::kNotIn;
    return true;
  }
  return false;
}

ExprPtr ParseComparison(ParserState* state) {
  const int line = state->Current().line;
  ExprPtr first = ParseSum(state);
  Comparison comparison;
  if (!TakeComparison(state, &comparison)) return first;
  ExprPtr expr = Make(ExprKind::kCompare, line);
  expr->operands.push_back(std::move(first));
  do {
    expr->comparisons.push_back(comparison);
    expr->operands.push_back(ParseSum(state));
  } while (TakeComparison(state, &comparison));
  return Seal(std::move(expr));
}

ExprPtr ParseNot(ParserState* state) {
  if (!state->Current().IsName("not")) return ParseComparison(state);
  const ParserState::Nesting nesting(state);
  ExprPtr expr = Make(ExprKind::kNot, state->Take().line);
  expr->operands.push_back(ParseNot(state));
  return Seal(std::move(expr));
}

ExprPtr ParseAnd(ParserState* state) {
  ExprPtr left = ParseNot(state);
  if (!state->Current().IsName("and")) return left;
  ExprPtr expr = Make(ExprKind::kAnd, state->Current().line);
  expr->operands.push_back(std::move(left));
  while (state->SkipName("and")) expr->operands.push_back(ParseNot(state));
  return Seal(std::move(expr));
}

ExprPtr ParseOr(ParserState* state) {
  ExprPtr left = ParseAnd(state);
  if (!state->Current().IsName("or")) return left;
  ExprPtr expr = Make(ExprKind::kOr, state->Current().line);
  expr->operands.push_back(std::move(left));
  while (state->SkipName("or")) expr->operands.push_back(ParseAnd(state));
  return Seal(std::move(expr));
}

bool EndsTuple(const ParserState& state, std::string_view stop) {
  const Token& token = state.Current();
  return token.kind == TokenKind::kVariableEnd || token.kind == TokenKind::kBlockEnd ||
         token.IsOperator(")") || (!stop.empty() && token.IsName(stop));
}

}  // namespace

ExprPtr ParseExpression(ParserState* state) {
  const ParserState::Nesting nesting(state);
  ExprPtr expr = ParseOr(state);
  while (state->Current().IsName("if")) {
    ExprPtr conditional = Make(ExprKind::kConditional, state->Take().line);
    conditional->operands.push_back(std::move(expr));
    conditional->operands.push_back(ParseOr(state));
    conditional->operands.push_back(state->SkipName("else") ? ParseExpression(state) : nullptr);
    expr = Seal(std::move(conditional));
  }
  return expr;
}

ExprPtr ParseTuple(ParserState* state, bool with_condition, std::string_view stop) {
  const int line = state->Current().line;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) {
      if (!state->SkipOperator(",")) break;
      is_tuple = true;
    }
    if (EndsTuple(*state, stop)) break;
    items.push_back(with_condition ? ParseExpression(state) : ParseOr(state));
  }
  if (items.empty()) state->FailExpected("an expression");
  if (!is_tuple) return std::move(items[0]);
  ExprPtr tuple = Make(ExprKind::kTuple, line);
  tuple->operands = std::move(items);
  return Seal(std::move(tuple));
}

}  // namespace pingti::text::jinja
