// Tokens that a model computed and its draft head has yet to read. Each has a place in the paged
// cache; of several that were noted for one place the last one counts, since the model's keys and
// values there are that one's. Confined to the engine thread. Next: head_runner.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pingti::worker {

struct UnreadToken {
  int32_t block = 0;  // where its keys and values go, the model's and the head's
  int32_t offset = 0;
  int32_t position = 0;
  int32_t next_token = 0;  // the token behind the position, which the head reads beside the state
  int32_t state = 0;       // row of the state at the position
};

// All operations but Clear take constant time.
class UnreadTokens {
 public:
  UnreadTokens() = default;
  UnreadTokens(int32_t num_blocks, int32_t block_tokens);

  // REQUIRES: the place is within the blocks.
  void Add(const UnreadToken& token);
  // Whatever was noted for the place; any block.
  void Remove(int32_t block, int32_t offset);
  // Whether there are any in the block; any block.
  bool AnyIn(int32_t block) const;
  // In no particular order. Valid until the next change.
  std::span<const UnreadToken> all() const { return tokens_; }
  bool empty() const { return tokens_.empty(); }
  void Clear();

 private:
  static constexpr int32_t kNone = -1;
  bool Has(int32_t block) const {
    return block >= 0 && block < static_cast<int32_t>(in_block_.size());
  }
  int32_t& At(int32_t block, int32_t offset) {
    return at_[static_cast<size_t>(block) * static_cast<size_t>(block_tokens_) +
               static_cast<size_t>(offset)];
  }

  int32_t block_tokens_ = 0;
  std::vector<UnreadToken> tokens_;
  std::vector<int32_t> at_;        // index in tokens_ or kNone, [num_blocks, block_tokens]
  std::vector<int32_t> in_block_;  // how many, [num_blocks]
};

}  // namespace pingti::worker
