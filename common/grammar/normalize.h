// Brings a grammar into the form that the automaton is built from. Pure.
//
// Afterwards: no call and no repeated expression matches the empty text (a rule that does is split
// into "nothing" and a variant without it), every call can end, and repeats too long to be written
// out are counted calls. Read next: fragment.h.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "common/grammar/grammar.h"

namespace pingti::grammar {

struct NormalGrammar {
  Grammar grammar;
  // By RuleId: small and not recursive, so that callers take the body in.
  std::vector<bool> inlined;
};

// Errors: InvalidArgument when no finite text matches; ResourceExhausted or DeadlineExceeded by the
// grammar's limits.
absl::StatusOr<NormalGrammar> Normalize(Grammar grammar);

}  // namespace pingti::grammar
