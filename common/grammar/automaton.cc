// See automaton.h.
#include "common/grammar/automaton.h"

#include <algorithm>
#include <bitset>
#include <string>
#include <unordered_map>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/grammar/normalize.h"
#include "common/grammar/subset.h"

namespace pingti::grammar {
namespace {

// The rules that calls reach, each with its states.
struct CompiledRules {
  std::vector<RuleId> order;  // the root first
  std::unordered_map<RuleId, RuleStates> states;
};

absl::StatusOr<CompiledRules> CompileRules(const NormalGrammar& normal, CallTable* calls) {
  const GrammarLimits& limits = normal.grammar.limits();
  CompiledRules rules;
  rules.order.push_back(normal.grammar.root());
  size_t num_calls = 0;
  size_t num_states = 0;
  for (size_t i = 0; i < rules.order.size(); ++i) {
    const RuleId rule = rules.order[i];
    PINGTI_ASSIGN_OR_RETURN(const Fragment fragment, BuildFragment(normal, rule, calls));
    PINGTI_ASSIGN_OR_RETURN(RuleStates states, RemoveEmptyMoves(fragment, limits));
    num_states += states.states.size();
    if (num_states > static_cast<size_t>(limits.max_states)) {
      return absl::ResourceExhaustedError(Concat("the grammar needs more than ", limits.max_states,
                                                 " states: expected a smaller one"));
    }
    rules.states.emplace(rule, std::move(states));
    for (; num_calls < calls->calls().size(); ++num_calls) {
      const RuleId called = calls->calls()[num_calls].rule;
      if (std::find(rules.order.begin(), rules.order.end(), called) == rules.order.end()) {
        rules.order.push_back(called);
      }
    }
  }
  return rules;
}

// Calls that a rule makes before it reads anything must not lead back to it.
class LeftRecursion {
 public:
  LeftRecursion(const CompiledRules& rules, const CallTable& calls)
      : rules_(rules), calls_(calls) {}

  // The rule that a circle was found at, or -1.
  RuleId Find() {
    for (const RuleId rule : rules_.order) {
      const RuleId found = Visit(rule);
      if (found >= 0) return found;
    }
    return -1;
  }

 private:
  enum class Mark { kNew, kOpen, kDone };
  struct Open {
    RuleId rule;
    size_t next_call;
  };

  RuleId Visit(RuleId root) {
    if (marks_[root] != Mark::kNew) return -1;
    std::vector<Open> stack{{root, 0}};
    marks_[root] = Mark::kOpen;
    while (!stack.empty()) {
      Open& top = stack.back();
      const auto& left = rules_.states.at(top.rule).states[0].calls;
      if (top.next_call == left.size()) {
        marks_[top.rule] = Mark::kDone;
        stack.pop_back();
        continue;
      }
      const RuleId called = calls_.calls()[left[top.next_call++].call].rule;
      if (marks_[called] == Mark::kOpen) return called;
      if (marks_[called] == Mark::kDone) continue;
      marks_[called] = Mark::kOpen;
      stack.push_back({called, 0});
    }
    return -1;
  }

  const CompiledRules& rules_;
  const CallTable& calls_;
  std::unordered_map<RuleId, Mark> marks_;
};

}  // namespace

absl::StatusOr<Automaton> Automaton::Compile(Grammar grammar) {
  PINGTI_ASSIGN_OR_RETURN(const NormalGrammar normal, Normalize(std::move(grammar)));
  CallTable calls;
  PINGTI_ASSIGN_OR_RETURN(const CompiledRules rules, CompileRules(normal, &calls));
  if (const RuleId left = LeftRecursion(rules, calls).Find(); left >= 0) {
    return absl::InvalidArgumentError(
        Concat("'", normal.grammar.rule(left).name,
               "' refers to itself before it matches anything: expected no left recursion"));
  }
  Automaton result;
  std::unordered_map<RuleId, StateId> starts;
  for (const RuleId rule : rules.order) {
    const StateId base = result.num_states();
    starts[rule] = base;
    for (const RuleStates::State& from : rules.states.at(rule).states) {
      State state;
      state.accepts = from.accepts;
      state.first_byte = static_cast<int32_t>(result.byte_moves_.size());
      state.num_bytes = static_cast<int32_t>(from.bytes.size());
      state.first_call = static_cast<int32_t>(result.call_moves_.size());
      state.num_calls = static_cast<int32_t>(from.calls.size());
      for (ByteMove move : from.bytes) {
        move.to += base;
        result.byte_moves_.push_back(move);
      }
      for (CallMove move : from.calls) {
        move.to += base;
        result.call_moves_.push_back(move);
      }
      result.states_.push_back(state);
    }
  }
  result.start_ = starts.at(normal.grammar.root());
  result.calls_ = calls.calls();
  std::unordered_map<RuleId, int32_t> counting;
  for (int32_t i = 0; i < result.num_calls(); ++i) {
    const RuleCall& call = result.calls_[i];
    result.call_start_.push_back(starts.at(call.rule));
    result.counting_alike_.push_back(
        call.counted() ? counting.try_emplace(call.rule, i).first->second : -1);
  }
  result.FindByteClasses();
  return result;
}

// A byte differs from the one before it where some range begins or has ended; classes that such
// bounds do not separate but are disjoint stay apart, which costs memory only.
void Automaton::FindByteClasses() {
  std::bitset<257> bound;
  for (const ByteMove& move : byte_moves_) {
    bound.set(move.bytes.first);
    bound.set(move.bytes.last + 1);
  }
  int32_t current = 0;
  for (int byte = 0; byte < 256; ++byte) {
    if (byte > 0 && bound.test(byte)) ++current;
    byte_class_[byte] = static_cast<uint8_t>(current);
  }
  num_byte_classes_ = current + 1;
}

size_t Automaton::memory_bytes() const {
  return sizeof(*this) + states_.size() * sizeof(State) + byte_moves_.size() * sizeof(ByteMove) +
         call_moves_.size() * sizeof(CallMove) + calls_.size() * (sizeof(RuleCall) + 4);
}

}  // namespace pingti::grammar
