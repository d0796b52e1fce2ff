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

class DraftSource {
 public:
  virtual ~DraftSource() = default;
  // Appends to each ask's drafts tokens that may follow sequence->tokens: as many as it has, none
  // beyond ask.most. REQUIRES: they are of the model's vocabulary.
  virtual void Propose(std::span<DraftAsk> asks) = 0;
};

}  // namespace pingti::worker
