// See fragment.h.
#include "common/grammar/fragment.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::grammar {
namespace {

using Expr = Grammar::Expr;
using Kind = Grammar::Kind;

class Builder {
 public:
  Builder(const NormalGrammar& normal, CallTable* calls)
      : grammar_(normal.grammar), inlined_(normal.inlined), calls_(calls) {}

  absl::StatusOr<Fragment> Run(RuleId rule) {
    fragment_.start = NewState();
    fragment_.accept = Build(grammar_.rule(rule).body, fragment_.start);
    PINGTI_RETURN_IF_ERROR(status_);
    return std::move(fragment_);
  }

 private:
  int32_t NewState() {
    constexpr size_t kClockInterval = 4096;
    const size_t most = static_cast<size_t>(grammar_.limits().max_states) * 4;
    if (fragment_.states.size() >= most && status_.ok()) {
      status_ = absl::ResourceExhaustedError(
          Concat("the grammar needs more than ", most, " positions: expected a smaller one"));
    }
    if (fragment_.states.size() % kClockInterval == kClockInterval - 1 && status_.ok()) {
      status_ = CheckDeadline(grammar_.limits());
    }
    if (!status_.ok()) return 0;
    fragment_.states.emplace_back();
    return static_cast<int32_t>(fragment_.states.size()) - 1;
  }

  void Empty(int32_t from, int32_t to) { fragment_.states[from].empty.push_back(to); }

  int32_t Byte(int32_t from, ByteRange bytes) {
    const int32_t to = NewState();
    fragment_.states[from].bytes.push_back({bytes, to});
    return to;
  }

  // Adds the states that lead from `from` over `id`; the state behind it.
  int32_t Build(ExprId id, int32_t from) {
    if (!status_.ok()) return from;
    const Expr& e = grammar_.expr(id);
    switch (e.kind) {
      case Kind::kLiteral:
        for (const char c : e.bytes) {
          const uint8_t byte = static_cast<uint8_t>(c);
          from = Byte(from, {byte, byte});
        }
        return from;
      case Kind::kClass:
        return BuildClass(e.chars, from);
      case Kind::kSequence:
        for (const ExprId child : e.children) from = Build(child, from);
        return from;
      case Kind::kChoice:
        return BuildChoice(e, from);
      case Kind::kRepeat:
        return BuildRepeat(e, from);
      case Kind::kCall:
        return BuildCall(e, from);
      case Kind::kList:
        return BuildList(e, from);
    }
    return from;
  }

  int32_t BuildClass(const CharClass& chars, int32_t from) {
    const int32_t end = NewState();
    for (const ByteSequence& row : Utf8Sequences(chars)) {
      int32_t at = from;
      for (int i = 0; i + 1 < row.length; ++i) at = Byte(at, row.bytes[i]);
      if (!status_.ok()) return end;
      fragment_.states[at].bytes.push_back({row.bytes[row.length - 1], end});
    }
    return end;
  }

  int32_t BuildChoice(const Expr& e, int32_t from) {
    const int32_t end = NewState();
    for (const ExprId child : e.children) {
      const int32_t begin = NewState();
      Empty(from, begin);
      Empty(Build(child, begin), end);
    }
    return end;
  }

  int32_t BuildRepeat(const Expr& e, int32_t from) {
    for (int32_t i = 0; i < e.min && status_.ok(); ++i) from = Build(e.children[0], from);
    if (e.max == kUnbounded) {
      const int32_t loop = NewState();
      Empty(from, loop);
      Empty(Build(e.children[0], loop), loop);
      return loop;
    }
    const int32_t end = NewState();
    for (int32_t i = e.min; i < e.max && status_.ok(); ++i) {
      Empty(from, end);
      const int32_t begin = NewState();
      Empty(from, begin);
      from = Build(e.children[0], begin);
    }
    Empty(from, end);
    return end;
  }

  int32_t BuildCall(const Expr& e, int32_t from) {
    if (e.min == 1 && e.max == 1 && inlined_[e.rule]) {
      return Build(grammar_.rule(e.rule).body, from);
    }
    const int32_t call = calls_->IndexOf({e.rule, e.min, e.max});
    const int32_t to = NewState();
    fragment_.states[from].calls.push_back({call, to});
    return to;
  }

  // Two chains of states: nothing stands yet, and something stands, so that a separator is due.
  // Each element is built once.
  int32_t BuildList(const Expr& e, int32_t from) {
    const size_t count = e.children.size() - 1;
    const ExprId separator = e.children[count];
    int32_t nothing = NewState();
    int32_t something = NewState();
    Empty(from, nothing);
    bool can_be_nothing = true;
    for (size_t i = 0; i < count && status_.ok(); ++i) {
      const int32_t begin = NewState();
      if (can_be_nothing) Empty(nothing, begin);
      if (i > 0) Empty(Build(separator, something), begin);
      const int32_t end = Build(e.children[i], begin);
      const int32_t next_nothing = NewState();
      const int32_t next_something = NewState();
      Empty(end, next_something);
      if (!e.required[i]) {
        Empty(something, next_something);
        Empty(nothing, next_nothing);
      } else {
        can_be_nothing = false;
      }
      nothing = next_nothing;
      something = next_something;
    }
    const int32_t end = NewState();
    Empty(something, end);
    if (can_be_nothing) Empty(nothing, end);
    return end;
  }

  const Grammar& grammar_;
  const std::vector<bool>& inlined_;
  CallTable* const calls_;
  Fragment fragment_;
  absl::Status status_;
};

}  // namespace

int32_t CallTable::IndexOf(const RuleCall& call) {
  const auto [it, is_new] = index_.try_emplace(call, static_cast<int32_t>(calls_.size()));
  if (is_new) calls_.push_back(call);
  return it->second;
}

absl::StatusOr<Fragment> BuildFragment(const NormalGrammar& normal, RuleId rule, CallTable* calls) {
  return Builder(normal, calls).Run(rule);
}

}  // namespace pingti::grammar
