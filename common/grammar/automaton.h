// The compiled grammar: one set of states, in which rules call each other (a pushdown automaton
// over bytes). Immutable and thread-safe. Read next: configurations.h, which runs it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/grammar/fragment.h"
#include "common/grammar/grammar.h"

namespace pingti::grammar {

using StateId = int32_t;

class Automaton {
 public:
  using ByteMove = Fragment::ByteMove;
  using CallMove = Fragment::CallMove;

  // Errors: InvalidArgument when nothing finite matches or a rule calls itself before it reads
  // anything; ResourceExhausted or DeadlineExceeded by the grammar's limits.
  static absl::StatusOr<Automaton> Compile(Grammar grammar);

  StateId start() const { return start_; }
  std::span<const ByteMove> bytes(StateId state) const {
    return std::span(byte_moves_).subspan(states_[state].first_byte, states_[state].num_bytes);
  }
  std::span<const CallMove> calls(StateId state) const {
    return std::span(call_moves_).subspan(states_[state].first_call, states_[state].num_calls);
  }
  // Whether the state's rule may end here.
  bool accepts(StateId state) const { return states_[state].accepts; }
  // Nothing follows in this rule.
  bool only_accepts(StateId state) const {
    const State& s = states_[state];
    return s.accepts && s.num_bytes == 0 && s.num_calls == 0;
  }
  const RuleCall& call(int32_t index) const { return calls_[index]; }
  StateId start_of(int32_t call) const { return call_start_[call]; }
  // One counted call for all that count matches of the same rule; -1 for calls that do not count.
  int32_t counting_alike(int32_t call) const { return call < 0 ? -1 : counting_alike_[call]; }
  int32_t num_states() const { return static_cast<int32_t>(states_.size()); }
  int32_t num_calls() const { return static_cast<int32_t>(calls_.size()); }

  // Bytes that no state tells apart share a class.
  uint8_t byte_class(uint8_t byte) const { return byte_class_[byte]; }
  int32_t num_byte_classes() const { return num_byte_classes_; }

  size_t memory_bytes() const;

 private:
  struct State {
    int32_t first_byte = 0;
    int32_t num_bytes = 0;
    int32_t first_call = 0;
    int32_t num_calls = 0;
    bool accepts = false;
  };

  Automaton() = default;
  void FindByteClasses();

  StateId start_ = 0;
  std::vector<State> states_;
  std::vector<ByteMove> byte_moves_;
  std::vector<CallMove> call_moves_;
  std::vector<RuleCall> calls_;
  std::vector<StateId> call_start_;
  std::vector<int32_t> counting_alike_;
  std::array<uint8_t, 256> byte_class_{};
  int32_t num_byte_classes_ = 1;
};

}  // namespace pingti::grammar
