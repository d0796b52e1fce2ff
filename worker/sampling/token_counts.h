// How often each token occurred in one sequence: what penalties look at.
//
// Thread-compatible. All memory is taken by Reset, so that counting during decode allocates
// nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/backend/sampling_params.h"

namespace pingti::worker {

class TokenCounts {
 public:
  // Counts a prompt. At most `max_tokens` tokens, the prompt included, will be counted in all.
  void Reset(std::span<const int32_t> prompt, int32_t max_tokens);
  void AddOutput(int32_t token_id) { ++Slot(token_id).output_count; }

  // One entry per distinct token, in order of first occurrence.
  std::span<const TokenCount> counts() const { return counts_; }

 private:
  TokenCount& Slot(int32_t token_id);

  std::vector<TokenCount> counts_;
  std::vector<int32_t> index_;  // open addressing, at most half full; -1: empty
};

// Writes to `after` what `counts` becomes with one more output token. Linear in their number.
void CountsAfter(std::span<const TokenCount> counts, int32_t token_id,
                 std::vector<TokenCount>* after);

}  // namespace pingti::worker
