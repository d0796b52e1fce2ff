#include "worker/speculation/ngram_drafts.h"

#include <memory>
#include <vector>

#include "worker/speculation/ngram_index.h"

namespace pingti::worker {
namespace {

struct Memory : DraftMemory {
  NgramIndex index;
};

}  // namespace

void NgramDrafts::Propose(std::span<DraftAsk> asks) {
  for (DraftAsk& ask : asks) {
    if (*ask.memory == nullptr) *ask.memory = std::make_unique<Memory>();
    NgramIndex& index = static_cast<Memory*>(ask.memory->get())->index;
    const std::vector<int32_t>& tokens = ask.sequence->tokens;
    index.Extend(tokens);
    const NgramIndex::Match match = index.FindLongest(tokens);
    if (match.length == 0) continue;
    // The text since the match may be shorter than what is wanted: then it repeats.
    const auto period = tokens.size() - static_cast<size_t>(match.end);
    for (size_t i = 0; i < static_cast<size_t>(ask.most); ++i) {
      ask.drafts.push_back(tokens[static_cast<size_t>(match.end) + i % period]);
    }
  }
}

}  // namespace pingti::worker
