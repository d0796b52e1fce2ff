// Where drafts come from: tokens that may follow a sequence's text, for the model to check several
// of them in one step.
//
// Drafts never change an answer: each is compared with what the model draws in its place. Called on
// the engine thread; must not block.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/engine/sequence.h"

namespace pingti::worker {

class DraftSource {
 public:
  virtual ~DraftSource() = default;
  // Appends up to `most` tokens that may follow sequence.tokens. REQUIRES: they are of the model's
  // vocabulary.
  virtual void Propose(const Sequence& sequence, int32_t most, std::vector<int32_t>* drafts) = 0;
};

}  // namespace pingti::worker
