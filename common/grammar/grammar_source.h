// A constraint as a client writes it, and the one way to compile it. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/grammar/automaton.h"
#include "common/grammar/grammar.h"

namespace pingti::grammar {

struct GrammarSource {
  enum class Kind { kJsonSchema, kJsonObject, kRegex, kEbnf, kToolCalls };

  Kind kind = Kind::kJsonObject;
  std::string text;  // nothing for kJsonObject

  friend auto operator<=>(const GrammarSource&, const GrammarSource&) = default;
};

// Errors: InvalidArgument and Unimplemented naming what is wrong where; ResourceExhausted and
// DeadlineExceeded by the limits.
absl::StatusOr<Automaton> CompileGrammar(const GrammarSource& source, const GrammarLimits& limits);

// The source whose matching texts are exactly these. REQUIRES: UTF-8.
GrammarSource OneOfTexts(const std::vector<std::string>& texts);

}  // namespace pingti::grammar
