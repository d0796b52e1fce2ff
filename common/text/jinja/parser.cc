// Statements of the template language; see parser.h. Expressions: expression_parser.cc.
#include "common/text/jinja/parser.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "common/text/jinja/lexer.h"
#include "common/text/jinja/parser_state.h"

namespace pingti::text::jinja {
namespace {

using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;

class StatementParser {
 public:
  explicit StatementParser(ParserState* state) : state_(*state) {}

  // Statements until one of `ends` opens a block tag; that name is the current token then.
  Body ParseBody(std::initializer_list<std::string_view> ends) {
    const ParserState::Nesting nesting(&state_);
    Body body;
    while (true) {
      const Token& token = state_.Current();
      if (token.kind == TokenKind::kEnd) {
        if (ends.size() == 0) return body;
        FailAt(token.line,
               "unexpected end of template, expected '" + std::string(*ends.begin()) + "'");
      }
      if (token.kind == TokenKind::kData) {
        StmtPtr stmt = Make(StmtKind::kData);
        stmt->text = state_.Take().text;
        body.push_back(std::move(stmt));
      } else if (token.kind == TokenKind::kVariableBegin) {
        state_.Take();
        StmtPtr stmt = Make(StmtKind::kPrint);
        stmt->value = ParseTuple(&state_, true, "");
        state_.Expect(TokenKind::kVariableEnd, "end of print statement");
        body.push_back(std::move(stmt));
      } else {
        state_.Expect(TokenKind::kBlockBegin, "'{%'");
        const Token& name = state_.Current();
        if (name.kind != TokenKind::kName) state_.FailExpected("the name of a tag");
        if (std::any_of(ends.begin(), ends.end(),
                        [&](std::string_view end) { return name.IsName(end); })) {
          return body;
        }
        body.push_back(ParseStatement());
        state_.Expect(TokenKind::kBlockEnd, "end of statement block");
      }
    }
  }

 private:
  StmtPtr Make(StmtKind kind) const {
    auto stmt = std::make_unique<Stmt>();
    stmt->kind = kind;
    stmt->line = state_.Current().line;
    return stmt;
  }

  void EndTag() { state_.Expect(TokenKind::kBlockEnd, "end of statement block"); }

  // A body and its end tag, whose name is consumed.
  Body ParseBodyThrough(std::string_view end) {
    EndTag();
    Body body = ParseBody({end});
    state_.Take();
    return body;
  }

  StmtPtr ParseStatement() {
    const Token name = state_.Take();
    if (name.text == "if") return ParseIf();
    if (name.text == "for") return ParseFor();
    if (name.text == "set") return ParseSet();
    if (name.text == "with") return ParseWith();
    if (name.text == "macro") return ParseMacro();
    if (name.text == "call") return ParseCallBlock();
    if (name.text == "print") {
      StmtPtr stmt = Make(StmtKind::kPrint);
      stmt->value = ParseTuple(&state_, true, "");
      return stmt;
    }
    if (name.text == "filter") {
      StmtPtr stmt = Make(StmtKind::kFilter);
      stmt->value = ParseFilterChain(&state_, nullptr, /*starts_inline=*/true);
      stmt->body = ParseBodyThrough("endfilter");
      return stmt;
    }
    if (name.text == "generation") {
      StmtPtr stmt = Make(StmtKind::kGeneration);
      stmt->body = OutsideLoops([&] { return ParseBodyThrough("endgeneration"); });
      return stmt;
    }
    if (name.text == "break" || name.text == "continue") {
      if (state_.loop_depth == 0) {
        FailAt(name.line, "'" + name.text + "' outside of a loop");
      }
      return Make(name.text == "break" ? StmtKind::kBreak : StmtKind::kContinue);
    }
    FailUnsupported(name.line, "Encountered unknown tag '" + name.text + "'.");
  }

  // Macro, call and generation bodies are functions: a break in them cannot leave a loop outside.
  template <typename Parse>
  Body OutsideLoops(Parse parse) {
    const int outer = std::exchange(state_.loop_depth, 0);
    Body body = parse();
    state_.loop_depth = outer;
    return body;
  }

  StmtPtr ParseIf() {
    StmtPtr result = Make(StmtKind::kIf);
    Stmt* current = result.get();
    while (true) {
      current->value = ParseTuple(&state_, false, "");
      EndTag();
      current->body = ParseBody({"elif", "else", "endif"});
      const Token token = state_.Take();
      if (token.text == "elif") {
        current->otherwise.push_back(Make(StmtKind::kIf));
        current = current->otherwise.back().get();
        if (++elif_count_ > kMaxElifs) FailAt(token.line, "more than 1000 elif branches");
        continue;
      }
      if (token.text == "else") current->otherwise = ParseBodyThrough("endif");
      return result;
    }
  }

  StmtPtr ParseFor() {
    StmtPtr stmt = Make(StmtKind::kFor);
    stmt->target = ParseTarget(/*allows_namespace=*/false, "in");
    state_.ExpectName("in");
    stmt->value = ParseTuple(&state_, false, "recursive");
    if (state_.SkipName("if")) stmt->condition = ParseExpression(&state_);
    stmt->recursive = state_.SkipName("recursive");
    EndTag();
    ++state_.loop_depth;
    stmt->body = ParseBody({"endfor", "else"});
    --state_.loop_depth;
    if (state_.Take().text == "else") stmt->otherwise = ParseBodyThrough("endfor");
    return stmt;
  }

  Target ParseSingleTarget(bool allows_namespace) {
    Target target;
    target.line = state_.Current().line;
    if (state_.SkipOperator("(")) {
      target = ParseTarget(allows_namespace, "");
      state_.ExpectOperator(")");
      return target;
    }
    const std::string name = state_.Expect(TokenKind::kName, "a name to assign to").text;
    for (const std::string_view keyword : {"true", "false", "none", "True", "False", "None"}) {
      if (name == keyword) FailAt(target.line, "can't assign to '" + name + "'");
    }
    target.symbol = state_.Intern(name);
    if (allows_namespace && state_.SkipOperator(".")) {
      target.attribute = state_.Expect(TokenKind::kName, "an attribute's name").text;
    }
    return target;
  }

  Target ParseTarget(bool allows_namespace, std::string_view stop) {
    const ParserState::Nesting nesting(&state_);
    Target first = ParseSingleTarget(allows_namespace);
    if (!state_.Current().IsOperator(",")) return first;
    Target tuple;
    tuple.line = first.line;
    tuple.parts.push_back(std::move(first));
    while (state_.SkipOperator(",")) {
      const Token& token = state_.Current();
      if (token.IsOperator("=") || token.IsOperator(")") || token.IsName(stop)) break;
      tuple.parts.push_back(ParseSingleTarget(allows_namespace));
    }
    return tuple;
  }

  StmtPtr ParseSet() {
    StmtPtr stmt = Make(StmtKind::kSet);
    stmt->target = ParseTarget(/*allows_namespace=*/true, "");
    if (state_.SkipOperator("=")) {
      stmt->value = ParseTuple(&state_, true, "");
      return stmt;
    }
    stmt->kind = StmtKind::kSetBlock;
    if (state_.Current().IsOperator("|")) {
      stmt->value = ParseFilterChain(&state_, nullptr, /*starts_inline=*/false);
    }
    stmt->body = ParseBodyThrough("endset");
    return stmt;
  }

  StmtPtr ParseWith() {
    StmtPtr stmt = Make(StmtKind::kWith);
    while (state_.Current().kind != TokenKind::kBlockEnd) {
      if (!stmt->assignments.empty()) state_.ExpectOperator(",");
      Target target = ParseSingleTarget(/*allows_namespace=*/false);
      state_.ExpectOperator("=");
      stmt->assignments.emplace_back(std::move(target), ParseExpression(&state_));
    }
    stmt->body = ParseBodyThrough("endwith");
    return stmt;
  }

  std::vector<Parameter> ParseParameters() {
    std::vector<Parameter> parameters;
    state_.ExpectOperator("(");
    while (!state_.Current().IsOperator(")")) {
      if (!parameters.empty()) {
        state_.ExpectOperator(",");
        if (state_.Current().IsOperator(")")) break;
      }
      const Token name = state_.Expect(TokenKind::kName, "a parameter's name");
      Parameter parameter{state_.Intern(name.text), name.text, nullptr};
      if (state_.SkipOperator("=")) {
        parameter.otherwise = ParseExpression(&state_);
      } else if (!parameters.empty() && parameters.back().otherwise) {
        FailAt(name.line, "non-default argument follows default argument");
      }
      parameters.push_back(std::move(parameter));
    }
    state_.ExpectOperator(")");
    return parameters;
  }

  void ParseFunction(std::string_view end, Stmt* stmt) {
    const ParserState::NameWatch names(&state_);
    stmt->body = OutsideLoops([&] { return ParseBodyThrough(end); });
    stmt->uses_caller = names.Has("caller");
    stmt->uses_varargs = names.Has("varargs");
    stmt->uses_kwargs = names.Has("kwargs");
  }

  StmtPtr ParseMacro() {
    StmtPtr stmt = Make(StmtKind::kMacro);
    stmt->text = state_.Expect(TokenKind::kName, "the macro's name").text;
    stmt->symbol = state_.Intern(stmt->text);
    stmt->parameters = ParseParameters();
    ParseFunction("endmacro", stmt.get());
    return stmt;
  }

  StmtPtr ParseCallBlock() {
    StmtPtr stmt = Make(StmtKind::kCallBlock);
    stmt->text = "caller";
    if (state_.Current().IsOperator("(")) stmt->parameters = ParseParameters();
    stmt->value = ParseExpression(&state_);
    if (stmt->value->kind != ExprKind::kCall) FailAt(stmt->line, "expected call");
    ParseFunction("endcall", stmt.get());
    return stmt;
  }

  static constexpr int kMaxElifs = 1000;  // each is a level of the tree
  ParserState& state_;
  int elif_count_ = 0;
};

}  // namespace

Ast ParseTemplate(std::string_view source, size_t max_depth) {
  ParserState state(Tokenize(source), max_depth);
  Ast ast;
  ast.body = StatementParser(&state).ParseBody({});
  ast.symbols = state.TakeSymbols();
  return ast;
}

}  // namespace pingti::text::jinja
