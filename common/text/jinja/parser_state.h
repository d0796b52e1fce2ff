// What the expression and the statement parser share: the token stream, symbols, nesting depth.
// Private to the parser; confined to one ParseTemplate.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/text/jinja/ast.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/lexer.h"

namespace pingti::text::jinja {

class ParserState {
 public:
  ParserState(std::vector<Token> tokens, size_t max_depth)
      : tokens_(std::move(tokens)), max_depth_(max_depth) {}

  const Token& Current() const { return tokens_[pos_]; }
  const Token& Look() const { return tokens_[std::min(pos_ + 1, tokens_.size() - 1)]; }
  Token Take() {
    Token token = tokens_[pos_];
    if (pos_ + 1 < tokens_.size()) ++pos_;
    return token;
  }
  bool SkipOperator(std::string_view op) { return Current().IsOperator(op) && (Take(), true); }
  bool SkipName(std::string_view name) { return Current().IsName(name) && (Take(), true); }
  void ExpectOperator(std::string_view op) {
    if (!SkipOperator(op)) FailExpected("'" + std::string(op) + "'");
  }
  void ExpectName(std::string_view name) {
    if (!SkipName(name)) FailExpected("'" + std::string(name) + "'");
  }
  Token Expect(TokenKind kind, std::string_view what) {
    if (Current().kind != kind) FailExpected(std::string(what));
    return Take();
  }
  [[noreturn]] void FailExpected(const std::string& expected) const {
    FailAt(Current().line, "expected " + expected + ", got " + Describe(Current()));
  }

  Symbol Intern(const std::string& name) {
    const auto [entry, added] = numbers_.emplace(name, static_cast<Symbol>(symbols_.size()));
    if (added) symbols_.push_back(name);
    for (std::set<std::string>* used : watchers_) used->insert(name);
    return entry->second;
  }
  std::vector<std::string> TakeSymbols() { return std::move(symbols_); }

  // While alive counts one level of nesting.
  class Nesting {
   public:
    explicit Nesting(ParserState* state) : state_(state) {
      if (++state_->depth_ > state_->max_depth_) {
        throw Error{
            absl::StatusCode::kResourceExhausted,
            "template nested more than " + std::to_string(state_->max_depth_) + " levels deep",
            state_->Current().line};
      }
    }
    ~Nesting() { --state_->depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    ParserState* state_;
  };

  // Collects the names that are mentioned while it is alive: a macro that never says `varargs`
  // takes no extra arguments.
  class NameWatch {
   public:
    explicit NameWatch(ParserState* state) : state_(state) { state_->watchers_.push_back(&used_); }
    ~NameWatch() { state_->watchers_.pop_back(); }
    NameWatch(const NameWatch&) = delete;
    NameWatch& operator=(const NameWatch&) = delete;
    bool Has(const std::string& name) const { return used_.contains(name); }

   private:
    ParserState* state_;
    std::set<std::string> used_;
  };

  int loop_depth = 0;  // `break` and `continue` need one

 private:
  std::vector<Token> tokens_;
  size_t pos_ = 0;
  size_t depth_ = 0;
  size_t max_depth_;
  std::vector<std::string> symbols_;
  std::unordered_map<std::string, Symbol> numbers_;
  std::vector<std::set<std::string>*> watchers_;
};

// Expressions (expression_parser.cc, operand_parser.cc).
std::unique_ptr<Expr> ParseExpression(ParserState* state);
// `a, b` is a tuple; `with_condition` allows `x if y`. `stop` is a name that ends the list.
std::unique_ptr<Expr> ParseTuple(ParserState* state, bool with_condition, std::string_view stop);
// `upper|trim` behind `{% filter` and `{% set x |`; the first operand is null.
std::unique_ptr<Expr> ParseFilterChain(ParserState* state, std::unique_ptr<Expr> operand,
                                       bool starts_inline);
// One primary with its calls, attributes and filters: what `{% call` needs.
std::unique_ptr<Expr> ParseUnary(ParserState* state, bool with_filter);

}  // namespace pingti::text::jinja
