// One rule as a nondeterministic automaton with empty moves: the first step from expressions to
// states (Thompson's construction). Read next: subset.h.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "common/grammar/normalize.h"

namespace pingti::grammar {

// To match `rule` at least `min` and at most `max` times. min >= 1.
struct RuleCall {
  RuleId rule = -1;
  int32_t min = 1;
  int32_t max = 1;  // kUnbounded

  bool counted() const { return max != 1; }
  friend auto operator<=>(const RuleCall&, const RuleCall&) = default;
};

// Numbers the different calls of a grammar.
class CallTable {
 public:
  int32_t IndexOf(const RuleCall& call);
  const std::vector<RuleCall>& calls() const { return calls_; }

 private:
  std::map<RuleCall, int32_t> index_;
  std::vector<RuleCall> calls_;
};

struct Fragment {
  struct ByteMove {
    ByteRange bytes;
    int32_t to;
  };
  struct CallMove {
    int32_t call;  // of the CallTable
    int32_t to;
  };
  struct State {
    std::vector<ByteMove> bytes;
    std::vector<CallMove> calls;
    std::vector<int32_t> empty;
  };
  std::vector<State> states;
  int32_t start = 0;
  int32_t accept = 0;
};

// Errors: ResourceExhausted or DeadlineExceeded by the grammar's limits.
absl::StatusOr<Fragment> BuildFragment(const NormalGrammar& normal, RuleId rule, CallTable* calls);

}  // namespace pingti::grammar
