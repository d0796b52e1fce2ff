// See subset.h.
#include "common/grammar/subset.h"

#include <algorithm>
#include <map>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::grammar {
namespace {

using StateSet = std::vector<int32_t>;

class Subsets {
 public:
  Subsets(const Fragment& fragment, const GrammarLimits& limits)
      : fragment_(fragment), limits_(limits), mark_(fragment.states.size(), 0) {}

  absl::StatusOr<RuleStates> Run() {
    // A subset automaton that grows far beyond its source grows without end.
    most_ = std::min<size_t>(limits_.max_states, 4 * fragment_.states.size() + 256);
    bool deterministic = true;
    PINGTI_ASSIGN_OR_RETURN(deterministic, Explore(true));
    if (!deterministic) {
      most_ = static_cast<size_t>(limits_.max_states);
      PINGTI_ASSIGN_OR_RETURN(const bool fits, Explore(false));
      if (!fits) {
        return absl::ResourceExhaustedError(
            Concat("the grammar needs more than ", most_, " states: expected a smaller one"));
      }
    }
    Trim();
    return std::move(result_);
  }

 private:
  // False when more than most_ states came up.
  absl::StatusOr<bool> Explore(bool deterministic) {
    constexpr size_t kClockInterval = 64;
    constexpr size_t kMostMoves = 2'000'000;
    result_ = RuleStates();
    index_.clear();
    sets_.clear();
    size_t moves = 0;
    StateOf({fragment_.start});
    for (size_t i = 0; i < sets_.size(); ++i) {
      if (sets_.size() > most_ || moves > kMostMoves) return false;
      if (i % kClockInterval == 0) PINGTI_RETURN_IF_ERROR(CheckDeadline(limits_));
      const StateSet set = sets_[i];
      result_.states[i].accepts = std::binary_search(set.begin(), set.end(), fragment_.accept);
      if (deterministic) {
        AddByteMoves(i, set);
        AddCallMoves(i, set);
      } else {
        CopyMoves(i, set);
      }
      moves += result_.states[i].bytes.size() + result_.states[i].calls.size() + set.size() / 8;
    }
    return true;
  }

  // Sweeps over the bounds of all ranges: between two, the targets are the same.
  void AddByteMoves(size_t state, const StateSet& set) {
    std::vector<Fragment::ByteMove> moves;
    std::vector<int> bounds;
    for (const int32_t s : set) {
      for (const Fragment::ByteMove& move : fragment_.states[s].bytes) {
        moves.push_back(move);
        bounds.push_back(move.bytes.first);
        bounds.push_back(move.bytes.last + 1);
      }
    }
    std::sort(bounds.begin(), bounds.end());
    bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
    for (size_t i = 0; i + 1 < bounds.size(); ++i) {
      StateSet targets;
      for (const Fragment::ByteMove& move : moves) {
        if (move.bytes.first <= bounds[i] && bounds[i] <= move.bytes.last) {
          targets.push_back(move.to);
        }
      }
      if (targets.empty()) continue;
      const int32_t to = StateOf(std::move(targets));
      auto& out = result_.states[state].bytes;
      const uint8_t last = static_cast<uint8_t>(bounds[i + 1] - 1);
      if (!out.empty() && out.back().to == to && out.back().bytes.last + 1 == bounds[i]) {
        out.back().bytes.last = last;
      } else {
        out.push_back({{static_cast<uint8_t>(bounds[i]), last}, to});
      }
    }
  }

  void AddCallMoves(size_t state, const StateSet& set) {
    std::map<int32_t, StateSet> targets;
    for (const int32_t s : set) {
      for (const Fragment::CallMove& move : fragment_.states[s].calls) {
        targets[move.call].push_back(move.to);
      }
    }
    for (auto& [call, to] : targets) {
      const int32_t target = StateOf(std::move(to));
      result_.states[state].calls.push_back({call, target});
    }
  }

  void CopyMoves(size_t state, const StateSet& set) {
    for (const int32_t s : set) {
      for (const Fragment::ByteMove& move : fragment_.states[s].bytes) {
        const int32_t to = StateOf({move.to});
        result_.states[state].bytes.push_back({move.bytes, to});
      }
      for (const Fragment::CallMove& move : fragment_.states[s].calls) {
        const int32_t to = StateOf({move.to});
        result_.states[state].calls.push_back({move.call, to});
      }
    }
    std::sort(result_.states[state].bytes.begin(), result_.states[state].bytes.end(),
              [](const auto& a, const auto& b) { return a.bytes.first < b.bytes.first; });
  }

  // The state for what empty moves reach from `seeds`.
  int32_t StateOf(StateSet seeds) {
    ++epoch_;
    StateSet set;
    for (size_t i = 0; i < seeds.size(); ++i) {
      const int32_t s = seeds[i];
      if (mark_[s] == epoch_) continue;
      mark_[s] = epoch_;
      const Fragment::State& from = fragment_.states[s];
      seeds.insert(seeds.end(), from.empty.begin(), from.empty.end());
      // States that only pass on would make equal sets look different.
      if (!from.bytes.empty() || !from.calls.empty() || s == fragment_.accept) set.push_back(s);
    }
    std::sort(set.begin(), set.end());
    const auto [it, is_new] = index_.try_emplace(set, static_cast<int32_t>(sets_.size()));
    if (is_new) {
      sets_.push_back(std::move(set));
      result_.states.emplace_back();
    }
    return it->second;
  }

  // Drops states from which the end cannot be reached.
  void Trim() {
    const size_t count = result_.states.size();
    std::vector<std::vector<int32_t>> from(count);
    std::vector<int32_t> live;
    std::vector<bool> is_live(count, false);
    for (size_t s = 0; s < count; ++s) {
      for (const auto& move : result_.states[s].bytes) from[move.to].push_back(s);
      for (const auto& move : result_.states[s].calls) from[move.to].push_back(s);
      if (result_.states[s].accepts) live.push_back(static_cast<int32_t>(s));
    }
    for (const int32_t s : live) is_live[s] = true;
    for (size_t i = 0; i < live.size(); ++i) {
      for (const int32_t s : from[live[i]]) {
        if (is_live[s]) continue;
        is_live[s] = true;
        live.push_back(s);
      }
    }
    is_live[0] = true;
    std::vector<int32_t> renamed(count, -1);
    RuleStates kept;
    for (size_t s = 0; s < count; ++s) {
      if (!is_live[s]) continue;
      renamed[s] = static_cast<int32_t>(kept.states.size());
      kept.states.push_back(std::move(result_.states[s]));
    }
    for (RuleStates::State& state : kept.states) {
      const auto rename = [&](auto& moves) {
        std::erase_if(moves, [&](const auto& move) { return renamed[move.to] < 0; });
        for (auto& move : moves) move.to = renamed[move.to];
      };
      rename(state.bytes);
      rename(state.calls);
    }
    result_ = std::move(kept);
  }

  const Fragment& fragment_;
  const GrammarLimits& limits_;
  size_t most_ = 0;
  std::vector<uint32_t> mark_;
  uint32_t epoch_ = 0;
  std::map<StateSet, int32_t> index_;
  std::vector<StateSet> sets_;
  RuleStates result_;
};

}  // namespace

absl::StatusOr<RuleStates> RemoveEmptyMoves(const Fragment& fragment, const GrammarLimits& limits) {
  return Subsets(fragment, limits).Run();
}

}  // namespace pingti::grammar
