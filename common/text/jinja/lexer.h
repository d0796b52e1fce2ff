// Splits template source into tokens, with Jinja's whitespace control (trim_blocks and
// lstrip_blocks on, one trailing newline of the source dropped).
// Source: Jinja2 3.1, "Template Designer Documentation", whitespace control and escaping.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/text/jinja/value.h"

namespace pingti::text::jinja {

enum class TokenKind {
  kData,           // text between tags
  kVariableBegin,  // {{
  kVariableEnd,
  kBlockBegin,  // {%
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,  // text says which
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;  // data, name, decoded string, operator
  Value number;      // kInteger, kFloat
  int line = 1;

  bool IsOperator(std::string_view op) const { return kind == TokenKind::kOperator && text == op; }
  bool IsName(std::string_view name) const { return kind == TokenKind::kName && text == name; }
};

// What a token is called in messages.
std::string Describe(const Token& token);

// Errors are thrown (error.h) with the line.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace pingti::text::jinja
