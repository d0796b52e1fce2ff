// From empty moves to states that are walked byte by byte: the subset construction, with calls as
// symbols of their own. Pure. Read next: automaton.h.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/grammar/fragment.h"

namespace pingti::grammar {

// A rule's automaton without empty moves; state 0 is the start. Every state can reach an accepting
// one (calls taken as possible).
struct RuleStates {
  struct State {
    std::vector<Fragment::ByteMove> bytes;  // by first byte
    std::vector<Fragment::CallMove> calls;
    bool accepts = false;
  };
  std::vector<State> states;
};

// Deterministic where that stays small; else with several moves for one byte, which a reader
// follows at once. Errors: ResourceExhausted or DeadlineExceeded by `limits`.
absl::StatusOr<RuleStates> RemoveEmptyMoves(const Fragment& fragment, const GrammarLimits& limits);

}  // namespace pingti::grammar
