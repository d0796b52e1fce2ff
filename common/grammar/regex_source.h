// Regular expressions, as ECMA-262 writes them, to grammars.
//
// Understood: literals, '.', classes, \d \w \s and their complements, character escapes, groups,
// alternation, all quantifiers (lazy ones match the same texts), '^' at the beginning and '$' at
// the end of an alternative. Look-around, back references, word boundaries and \p{...} are refused
// by name. Characters are Unicode scalar values. Source: ECMA-262, section 22.2. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/grammar/grammar.h"

namespace pingti::grammar {

struct RegexOptions {
  // How a character of a class is written into the text; Grammar::Class unless given.
  std::function<ExprId(const CharClass&)> spell;
  // The pattern may match anywhere in the text unless '^' and '$' say otherwise (JSON Schema);
  // else it matches all of the text.
  bool anywhere = false;
};

struct ParsedRegex {
  ExprId expr = 0;
  // Of the texts that match, in characters; kUnbounded.
  int32_t min_chars = 0;
  int32_t max_chars = 0;
  // The whole of it is one class, repeated min_chars to max_chars times: this class.
  std::optional<ExprId> repeated_class;
};

// Errors: InvalidArgument or Unimplemented naming the place in the pattern and what is there;
// ResourceExhausted for nesting beyond the grammar's limits.
absl::StatusOr<ParsedRegex> ParseRegex(std::string_view pattern, const RegexOptions& options,
                                       Grammar* grammar);

}  // namespace pingti::grammar
