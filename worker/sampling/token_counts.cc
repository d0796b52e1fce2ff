// See token_counts.h.
#include "worker/sampling/token_counts.h"

#include <algorithm>
#include <bit>

namespace pingti::worker {

void TokenCounts::Reset(std::span<const int32_t> prompt, int32_t max_tokens) {
  counts_.clear();
  counts_.reserve(max_tokens);
  index_.assign(std::bit_ceil(static_cast<uint32_t>(max_tokens) * 2 + 1), -1);
  for (const int32_t token : prompt) ++Slot(token).prompt_count;
}

void CountsAfter(std::span<const TokenCount> counts, int32_t token_id,
                 std::vector<TokenCount>* after) {
  after->assign(counts.begin(), counts.end());
  const auto found = std::find_if(after->begin(), after->end(), [&](const TokenCount& count) {
    return count.token_id == token_id;
  });
  if (found != after->end()) {
    ++found->output_count;
  } else {
    after->push_back({token_id, 0, 1});
  }
}

TokenCount& TokenCounts::Slot(int32_t token_id) {
  const size_t mask = index_.size() - 1;
  // Multiplying by an odd constant spreads neighbouring ids.
  size_t slot = (static_cast<uint32_t>(token_id) * 2654435761u) & mask;
  while (index_[slot] >= 0) {
    TokenCount& count = counts_[index_[slot]];
    if (count.token_id == token_id) return count;
    slot = (slot + 1) & mask;
  }
  index_[slot] = static_cast<int32_t>(counts_.size());
  counts_.push_back({token_id, 0, 0});
  return counts_.back();
}

}  // namespace pingti::worker
