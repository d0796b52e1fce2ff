// Which tokens may come next in a configuration: one bit per token.
//
// A token either stays within the rule that its state belongs to (or below it), which depends on
// the state alone, or leaves it on the way, which depends on the stack. The first kind is worked
// out once per state and kept; of the second kind only the places in the vocabulary's trie are kept
// where a token leaves, and reading goes on from there with the real stack. The split is
// XGrammar's (Dong et al., "XGrammar: Flexible and Efficient Structured Generation Engine for Large
// Language Models", 2024, section 3.1). For calls that count, each token's number of matches is
// kept as well, so that one table serves every count. Thread-compatible.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "common/grammar/configurations.h"
#include "common/grammar/vocabulary.h"

namespace pingti::grammar {

class TokenMasks {
 public:
  // Both must outlive this.
  TokenMasks(const Automaton* automaton, const Vocabulary* vocabulary)
      : automaton_(automaton), vocabulary_(vocabulary) {}

  // Sets the bits of the tokens that may come next, end tokens included, and clears the others.
  // mask: [vocabulary.mask_words()]. False, and the mask is not whole, when that takes more than
  // `most_work` units of Configurations::work().
  [[nodiscard]] bool Fill(Configurations* configurations, ConfigId config, int64_t most_work,
                          std::span<uint32_t> mask);
  // Works out what Fill will need of a state with a frame of `call` (-1, or one that stands for all
  // alike, see Automaton::counting_alike) below it, unless that takes more than `most_work`.
  void Prepare(Configurations* configurations, StateId state, int32_t call, int64_t most_work);

  size_t memory_bytes() const { return memory_bytes_; }

 private:
  // What the state alone decides.
  struct StateMask {
    std::vector<int32_t> tokens;        // by ascending need, when kept so
    std::vector<int32_t> needs_before;  // [n]: tokens that need less than n matches
    std::vector<uint32_t> bits;         // all of them; empty when `tokens` says it in less space
    // A rule ends before this node's byte, which is the caller's to read, as is all below it.
    struct Exit {
      int32_t node;
      int32_t done;  // matches of the call by then
    };
    // By their nodes' bytes: a caller goes on with few of them, and there may be an exit after
    // every character.
    std::vector<Exit> exits;
    struct ExitByte {
      uint8_t byte;
      int32_t end;  // of its exits; they begin where the previous one's end
    };
    std::vector<ExitByte> exit_bytes;
  };

  // What follows works until configurations->work() is beyond `end_of_work`, and what it gives is
  // not whole then.

  // nullptr at the end of the work.
  const StateMask* MaskOf(Configurations* configurations, StateId state, int32_t call,
                          int64_t end_of_work);
  StateMask Compute(Configurations* configurations, StateId state, int32_t call,
                    int64_t end_of_work) const;
  // Adds what follows once the rule has ended at `node`.
  void AddExits(int32_t node, int32_t done, StateMask* state_mask) const;
  void SortExits(StateMask* state_mask) const;
  // Sets the tokens that leave the state's rule after `least` to `most` matches and can be read on
  // from `returned`.
  void SetExitTokens(Configurations* configurations, const StateMask& state_mask, int32_t least,
                     int32_t most, ConfigId returned, int64_t end_of_work,
                     std::span<uint32_t> mask);
  void SetStateTokens(const StateMask& state_mask, int32_t left, std::span<uint32_t> mask);
  // Sets the tokens at and below `node`, whose byte led to `from`, that can be read.
  void SetFrom(Configurations* configurations, ConfigId from, int32_t node, int64_t end_of_work,
               std::span<uint32_t> mask);

  const Automaton* const automaton_;
  const Vocabulary* const vocabulary_;
  std::map<std::pair<StateId, int32_t>, StateMask> masks_;
  std::vector<ConfigId> path_;
  std::vector<uint32_t> scratch_;
  size_t memory_bytes_ = 0;
};

}  // namespace pingti::grammar
