// Expressions of the template language; see parser.h.
#include <algorithm>
#include <utility>

#include "common/text/jinja/builtins.h"
#include "common/text/jinja/parser_state.h"

namespace pingti::text::jinja {
namespace {

using ExprPtr = std::unique_ptr<Expr>;

ExprPtr Make(ExprKind kind, int line) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

// Chains such as 1+1+1+... nest on the left without nesting in the source.
constexpr int kMaxHeight = 500;

// To be called when all children of an expression are in place.
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
  if (test->test == nullptr) FailUnsupported(test->line, "No test named '" + test->name + "'.");
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
    if (filter->filter == nullptr) {
      FailUnsupported(filter->line, "No filter named '" + filter->name + "'.");
    }
    filter->operands.push_back(std::move(operand));
    if (state->Current().IsOperator("(")) ParseArguments(state, filter.get());
    operand = Seal(std::move(filter));
  }
  return operand;
}

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
