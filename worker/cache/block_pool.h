// The paged KV cache's bookkeeping: which of the fixed number of blocks is free, leased by
// sequences or kept for reuse after its last lease ended.
//
// Owns no KV memory, only block numbers. Confined to the engine thread. Read next: prefix_cache.h.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace pingti::worker {

using BlockId = int32_t;
inline constexpr BlockId kNoBlock = -1;

class BlockPool;

// Shared ownership of one block, as a move-only value: the block is given back when the last of its
// leases is destroyed. Must not outlive the pool.
class BlockLease {
 public:
  BlockLease() = default;
  BlockLease(BlockLease&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), block_(std::exchange(other.block_, kNoBlock)) {}
  BlockLease& operator=(BlockLease&& other) noexcept {
    if (this != &other) {
      Release();
      pool_ = std::exchange(other.pool_, nullptr);
      block_ = std::exchange(other.block_, kNoBlock);
    }
    return *this;
  }
  BlockLease(const BlockLease&) = delete;
  BlockLease& operator=(const BlockLease&) = delete;
  ~BlockLease() { Release(); }

  BlockId block() const { return block_; }
  bool empty() const { return pool_ == nullptr; }
  // Another lease on the same block. REQUIRES: !empty().
  BlockLease Share() const;
  void Release();

 private:
  friend class BlockPool;
  BlockLease(BlockPool* pool, BlockId block) : pool_(pool), block_(block) {}

  BlockPool* pool_ = nullptr;
  BlockId block_ = kNoBlock;
};

// Told when a kept block is taken for other content.
class EvictionListener {
 public:
  virtual ~EvictionListener() = default;
  virtual void OnEvict(BlockId block) = 0;
};

// Every block is in exactly one state: free (content worthless), leased (at least one lease) or
// cached (no lease, content kept, in least-recently-released order). All operations are O(1) and
// allocate nothing.
class BlockPool {
 public:
  // REQUIRES: num_blocks > 0. `listener` may be null when nothing is ever kept.
  explicit BlockPool(int32_t num_blocks, EvictionListener* listener = nullptr);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  int32_t total() const { return static_cast<int32_t>(nodes_.size()); }
  int32_t free() const { return num_free_; }
  int32_t cached() const { return num_cached_; }
  int32_t leased() const { return total() - num_free_ - num_cached_; }
  // What Allocate can hand out: free blocks and, after eviction, cached ones.
  int32_t available() const { return num_free_ + num_cached_; }

  // A block with worthless content: a free one, else the cached one released longest ago.
  // Empty lease when available() == 0: running out is an outcome, not an error.
  BlockLease Allocate();

  // A further lease on a leased or cached block. REQUIRES: the block is not free.
  BlockLease Lease(BlockId block);

  // Whether a block's content is kept when its last lease ends. REQUIRES: the block is leased.
  void SetKeep(BlockId block, bool keep);

  // Turns all cached blocks into free ones, telling the listener about each.
  void EvictAll();

  int32_t ref_count(BlockId block) const { return nodes_[block].refs; }
  bool kept(BlockId block) const { return nodes_[block].keep; }

  // Internal error naming the first count or link that does not hold. O(total).
  absl::Status CheckInvariants() const;

 private:
  friend class BlockLease;
  struct Node {
    int32_t refs = 0;
    bool keep = false;
    // Links of the cached list (both) or the free list (next only).
    BlockId previous = kNoBlock;
    BlockId next = kNoBlock;
  };

  void ReleaseRef(BlockId block);
  void Unlink(BlockId block);
  void EvictOldest();

  EvictionListener* const listener_;
  std::vector<Node> nodes_;
  BlockId free_head_ = kNoBlock;
  BlockId oldest_cached_ = kNoBlock;
  BlockId newest_cached_ = kNoBlock;
  int32_t num_free_ = 0;
  int32_t num_cached_ = 0;
};

}  // namespace pingti::worker
