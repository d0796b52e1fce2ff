// Drafts by prompt lookup: what followed the same words earlier in the sample's own text, prompt
// and answer (Saxena 2023, "Prompt Lookup Decoding"). Costs no model; helps where answers copy:
// summaries, edits of code, quotes, repeated forms.
#pragma once

#include <span>

#include "worker/engine/draft_source.h"

namespace pingti::worker {

class NgramDrafts : public DraftSource {
 public:
  void Propose(std::span<DraftAsk> asks) override;
};

}  // namespace pingti::worker
