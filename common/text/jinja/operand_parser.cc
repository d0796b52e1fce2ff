// Operands of expressions: constants, names, lists, dicts, and the attributes, calls, filters and
// tests behind them. Operators: expression_parser.cc. See parser.h.
#include <utility>

#include "common/text/jinja/builtins.h"
#include "common/text/jinja/expr_builder.h"
#include "common/text/jinja/parser_state.h"

namespace pingti::text::jinja {
namespace {

void ParseArguments(ParserState* state, Expr* call) {
  state->ExpectOperator("(");
  bool first = true;
  while (!state->Current().IsOperator(")")) {
    if (!first) {
      state->ExpectOperator(",");
      if (state->Current().IsOperator(")")) break;
    }
    first = false;
    const int line = state->Current().line;
    if (state->SkipOperator("*")) {
      if (call->star || call->double_star)
        FailAt(line, "invalid syntax for function call expression");
      call->star = ParseExpression(state);
    } else if (state->SkipOperator("**")) {
      if (call->double_star) FailAt(line, "invalid syntax for function call expression");
      call->double_star = ParseExpression(state);
    } else if (state->Current().kind == TokenKind::kName && state->Look().IsOperator("=")) {
      if (call->double_star) FailAt(line, "invalid syntax for function call expression");
      const std::string name = state->Take().text;
      state->Take();
      call->keyword.emplace_back(name, ParseExpression(state));
    } else {
      if (call->star || call->double_star || !call->keyword.empty()) {
        FailAt(line, "invalid syntax for function call expression");
      }
      call->positional.push_back(ParseExpression(state));
    }
  }
  state->ExpectOperator(")");
}

ExprPtr ParseCall(ParserState* state, ExprPtr callee) {
  ExprPtr call = Make(ExprKind::kCall, state->Current().line);
  call->operands.push_back(std::move(callee));
  ParseArguments(state, call.get());
  return Seal(std::move(call));
}

// One subscript between brackets: an expression or a slice.
ExprPtr ParseSubscript(ParserState* state, ExprPtr operand) {
  const int line = state->Current().line;
  if (state->SkipOperator(".")) {
    const Token token = state->Take();
    if (token.kind == TokenKind::kName) {
      ExprPtr expr = Make(ExprKind::kAttribute, line);
      expr->name = token.text;
      expr->operands.push_back(std::move(operand));
      return Seal(std::move(expr));
    }
    if (token.kind != TokenKind::kInteger) FailAt(line, "expected name or number");
    return MakeOperation(ExprKind::kSubscript, line, std::move(operand),
                         MakeConstant(token.number, line));
  }
  state->ExpectOperator("[");
  std::vector<ExprPtr> parts(4);
  parts[0] = std::move(operand);
  bool is_slice = false;
  if (!state->Current().IsOperator(":")) parts[1] = ParseExpression(state);
  for (size_t i = 2; i < 4 && state->SkipOperator(":"); ++i) {
    is_slice = true;
    if (!state->Current().IsOperator("]") && !state->Current().IsOperator(":")) {
      parts[i] = ParseExpression(state);
    }
  }
  if (!is_slice && state->Current().IsOperator(",")) {
    ExprPtr tuple = Make(ExprKind::kTuple, line);
    tuple->operands.push_back(std::move(parts[1]));
    while (state->SkipOperator(",")) tuple->operands.push_back(ParseExpression(state));
    parts[1] = Seal(std::move(tuple));
  }
  state->ExpectOperator("]");
  if (!is_slice) {
    return MakeOperation(ExprKind::kSubscript, line, std::move(parts[0]), std::move(parts[1]));
  }
  ExprPtr slice = Make(ExprKind::kSlice, line);
  slice->operands = std::move(parts);
  return Seal(std::move(slice));
}

ExprPtr ParsePostfix(ParserState* state, ExprPtr expr) {
  while (true) {
    const Token& token = state->Current();
    if (token.IsOperator(".") || token.IsOperator("[")) {
      expr = ParseSubscript(state, std::move(expr));
    } else if (token.IsOperator("(")) {
      expr = ParseCall(state, std::move(expr));
    } else {
      return expr;
    }
  }
}

ExprPtr ParseList(ParserState* state) {
  ExprPtr list = Make(ExprKind::kList, state->Current().line);
  state->ExpectOperator("[");
  while (!state->Current().IsOperator("]")) {
    if (!list->operands.empty()) {
      state->ExpectOperator(",");
      if (state->Current().IsOperator("]")) break;
    }
    list->operands.push_back(ParseExpression(state));
  }
  state->ExpectOperator("]");
  return Seal(std::move(list));
}

ExprPtr ParseDict(ParserState* state) {
  ExprPtr dict = Make(ExprKind::kDict, state->Current().line);
  state->ExpectOperator("{");
  while (!state->Current().IsOperator("}")) {
    if (!dict->operands.empty()) {
      state->ExpectOperator(",");
      if (state->Current().IsOperator("}")) break;
    }
    dict->operands.push_back(ParseExpression(state));
    state->ExpectOperator(":");
    dict->operands.push_back(ParseExpression(state));
  }
  state->ExpectOperator("}");
  return Seal(std::move(dict));
}

ExprPtr ParseName(ParserState* state) {
  const Token token = state->Take();
  const std::string& name = token.text;
  if (name == "true" || name == "True") return MakeConstant(Value(true), token.line);
  if (name == "false" || name == "False") return MakeConstant(Value(false), token.line);
  if (name == "none" || name == "None") return MakeConstant(Value(), token.line);
  ExprPtr expr = Make(ExprKind::kName, token.line);
  expr->symbol = state->Intern(name);
  expr->name = name;
  return expr;
}

ExprPtr ParsePrimary(ParserState* state) {
  const Token& token = state->Current();
  switch (token.kind) {
    case TokenKind::kName:
      return ParseName(state);
    case TokenKind::kString: {
      const int line = token.line;
      std::string text;
      while (state->Current().kind == TokenKind::kString) text += state->Take().text;
      return MakeConstant(Value(std::move(text)), line);
    }
    case TokenKind::kInteger:
    case TokenKind::kFloat: {
      const Token number = state->Take();
      return MakeConstant(number.number, number.line);
    }
    default:
      break;
  }
  if (token.IsOperator("(")) {
    const int line = token.line;
    state->Take();
    ExprPtr expr;
    if (state->Current().IsOperator(")")) {
      expr = Make(ExprKind::kTuple, line);
    } else {
      expr = ParseTuple(state, /*with_condition=*/true, "");
    }
    state->ExpectOperator(")");
    return expr;
  }
  if (token.IsOperator("[")) return ParseList(state);
  if (token.IsOperator("{")) return ParseDict(state);
  FailAt(token.line, "unexpected " + Describe(token) + ", expected an expression");
}

// `is name(args)` or `is name arg`.
ExprPtr ParseTest(ParserState* state, ExprPtr operand) {
  ExprPtr test = Make(ExprKind::kTest, state->Current().line);
  state->ExpectName("is");
  const bool negated = state->SkipName("not");
  test->name = state->Expect(TokenKind::kName, "the name of a test").text;
  while (state->SkipOperator(".")) {
    test->name += "." + state->Expect(TokenKind::kName, "the name of a test").text;
  }
  test->test = FindTest(test->name);
  test->operands.push_back(std::move(operand));
  const Token& token = state->Current();
  const bool starts_argument =
      token.kind == TokenKind::kString || token.kind == TokenKind::kInteger ||
      token.kind == TokenKind::kFloat || token.IsOperator("[") || token.IsOperator("{") ||
      (token.kind == TokenKind::kName && !token.IsName("else") && !token.IsName("or") &&
       !token.IsName("and"));
  if (token.IsOperator("(")) {
    ParseArguments(state, test.get());
  } else if (starts_argument) {
    if (token.IsName("is")) FailAt(token.line, "You cannot chain multiple tests with is");
    test->positional.push_back(ParsePostfix(state, ParsePrimary(state)));
  }
  test = Seal(std::move(test));
  if (!negated) return test;
  ExprPtr inverse = Make(ExprKind::kNot, test->line);
  inverse->operands.push_back(std::move(test));
  return Seal(std::move(inverse));
}

ExprPtr ParsePostfixFilters(ParserState* state, ExprPtr expr) {
  while (true) {
    const Token& token = state->Current();
    if (token.IsOperator("|")) {
      expr = ParseFilterChain(state, std::move(expr), /*starts_inline=*/false);
    } else if (token.IsName("is")) {
      expr = ParseTest(state, std::move(expr));
    } else if (token.IsOperator("(")) {
      expr = ParseCall(state, std::move(expr));
    } else {
      return expr;
    }
  }
}

}  // namespace

ExprPtr ParseUnary(ParserState* state, bool with_filter) {
  const ParserState::Nesting nesting(state);
  ExprPtr expr;
  const Token& token = state->Current();
  if (token.IsOperator("-") || token.IsOperator("+")) {
    const Token sign = state->Take();
    expr = Make(sign.text == "-" ? ExprKind::kNegate : ExprKind::kPlus, sign.line);
    expr->operands.push_back(ParseUnary(state, false));
    expr = Seal(std::move(expr));
  } else {
    expr = ParsePrimary(state);
  }
  expr = ParsePostfix(state, std::move(expr));
  return with_filter ? ParsePostfixFilters(state, std::move(expr)) : std::move(expr);
}

ExprPtr ParseFilterChain(ParserState* state, ExprPtr operand, bool starts_inline) {
  while (starts_inline || state->Current().IsOperator("|")) {
    if (!starts_inline) state->Take();
    starts_inline = false;
    ExprPtr filter = Make(ExprKind::kFilter, state->Current().line);
    filter->name = state->Expect(TokenKind::kName, "the name of a filter").text;
    while (state->SkipOperator(".")) {
      filter->name += "." + state->Expect(TokenKind::kName, "the name of a filter").text;
    }
    filter->filter = FindFilter(filter->name);
    filter->operands.push_back(std::move(operand));
    if (state->Current().IsOperator("(")) ParseArguments(state, filter.get());
    operand = Seal(std::move(filter));
  }
  return operand;
}

}  // namespace pingti::text::jinja
