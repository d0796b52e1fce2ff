// Where drafts come from: tokens that may follow a sample's text, for the model to check several of
// them in one step.
//
// Drafts never change an answer: each is compared with what the model draws in its place. Called on
// the engine thread; must not block.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "worker/engine/sequence.h"

namespace pingti::worker {

// What a source keeps of one sample from step to step, such as an index of its text. Goes with the
// sample.
class DraftMemory {
 public:
  virtual ~DraftMemory() = default;
};

// A sample that decodes, and the drafts that are proposed for it.
struct DraftAsk {
  const Sequence* sequence = nullptr;
  std::unique_ptr<DraftMemory>* memory = nullptr;  // null inside at the sample's first time
  int32_t most = 0;                                // drafts at most, > 0
  std::vector<int32_t> drafts;                     // empty before
};

// What a step computed of a sequence: the tokens at [first_position, + num_tokens), whose
// successors are known, in rows [first_row, + num_tokens) of the step's batch.
struct ComputedTokens {
  const Sequence* sequence = nullptr;
  int32_t first_position = 0;
  int32_t first_row = 0;
  int32_t num_tokens = 0;
};

class DraftSource {
 public:
  virtual ~DraftSource() = default;
  // A step's tokens were taken: for sources that read what the model computed, which is there until
  // its next Forward. Sequences may end before Propose. Of tokens that are not named here (the step
  // failed, or they are a beam's) nothing is known.
  virtual void AfterStep(std::span<const ComputedTokens> computed) {}
  // Tokens that the source has read so far without drafting behind them.
  virtual int64_t num_read() const { return 0; }
  // Appends to each ask's drafts tokens that may follow sequence->tokens: as many as it has, none
  // beyond ask.most. REQUIRES: they are of the model's vocabulary. Called before each step, perhaps
  // with no asks.
  virtual void Propose(std::span<DraftAsk> asks) = 0;
};

}  // namespace pingti::worker
