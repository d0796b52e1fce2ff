// Constrained decoding, from the outside: a CompiledGrammar is made once per source and
// vocabulary, a Matcher follows one text through it and says which tokens may come next.
//
//   matcher.FillMask(mask);  // draw a token that the mask allows
//   matcher.Accept(token);
//
// Read next: grammar_source.h for what can be compiled, token_masks.h for how masks come about.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "common/base/clock.h"
#include "common/grammar/automaton.h"
#include "common/grammar/configurations.h"
#include "common/grammar/token_masks.h"
#include "common/grammar/vocabulary.h"

namespace pingti::grammar {

// What one mask may cost, in units of Configurations::work(): a few tens of milliseconds, for which
// all sequences of an engine wait. The first mask of any text and a vocabulary of 100,000 tokens
// takes half of it.
inline constexpr int64_t kMaskWork = 10'000'000;

// Keeps what its matchers have worked out, for each other. Thread-compatible together with all of
// its matchers: one thread at a time uses any of them.
class CompiledGrammar {
 public:
  // `vocabulary` is shared by all grammars of a model.
  CompiledGrammar(Automaton automaton, std::shared_ptr<const Vocabulary> vocabulary);
  CompiledGrammar(const CompiledGrammar&) = delete;
  CompiledGrammar& operator=(const CompiledGrammar&) = delete;

  // Works out masks ahead of their use, until all are there or the deadline has passed.
  void Warm(const Clock& clock, std::chrono::steady_clock::time_point deadline);

  // What its matchers have done so far, in units of Configurations::work().
  int64_t work() const { return work_before_ + memory_->configurations.work(); }

  const Vocabulary& vocabulary() const { return *vocabulary_; }
  const Automaton& automaton() const { return automaton_; }
  size_t memory_bytes() const;

 private:
  friend class Matcher;

  // What readings of texts have brought up; replaced by an empty one when it has grown.
  struct Memory {
    explicit Memory(const Automaton* automaton) : configurations(automaton) {}

    Configurations configurations;
    std::unordered_map<ConfigId, std::vector<uint32_t>> masks;  // empty: too expensive
  };

  // The memory to go on with; `*config` of `memory` is moved over when that is another one.
  std::shared_ptr<Memory> Current(const std::shared_ptr<Memory>& memory, ConfigId* config);

  const Automaton automaton_;
  const std::shared_ptr<const Vocabulary> vocabulary_;
  TokenMasks token_masks_;
  std::shared_ptr<Memory> memory_;  // shared with matchers that have not moved over yet
  int64_t work_before_ = 0;         // of memories that were replaced
};

// A value: a copy follows the same text on its own (samples and beams of one prompt).
class Matcher {
 public:
  explicit Matcher(std::shared_ptr<CompiledGrammar> grammar);

  // Reads a token. After an end token nothing more is read, and any number of end tokens are fine.
  // Errors: InvalidArgument when the token may not come next; ResourceExhausted when the grammar
  // can read the text in more ways than are followed. The matcher is then unchanged.
  absl::Status Accept(int32_t token);

  // The tokens that may come next; end tokens where the text may end. mask: [ceil(vocab / 32)], all
  // of it is written. `most_work` is at most kMaskWork; a mask that is known costs none. Errors:
  // Unavailable when the mask costs more than `most_work`; ResourceExhausted as above, and when it
  // costs more than kMaskWork; FailedPrecondition when no token of the vocabulary can continue the
  // text.
  absl::Status FillMask(std::span<uint32_t> mask, int64_t most_work = kMaskWork);

  // Whether the text may end here.
  bool can_end() const;

 private:
  const Configurations::Config& config() const { return memory_->configurations.config(config_); }
  absl::Status CheckOverflow() const;

  std::shared_ptr<CompiledGrammar> grammar_;
  std::shared_ptr<CompiledGrammar::Memory> memory_;
  ConfigId config_;
  bool ended_ = false;
};

}  // namespace pingti::grammar
