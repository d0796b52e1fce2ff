// See block_pool.h. Free blocks form a stack, cached ones a doubly linked list, both threaded
// through nodes_.
#include "worker/cache/block_pool.h"

#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::worker {

BlockLease BlockLease::Share() const {
  PINGTI_CHECK(pool_ != nullptr);
  return pool_->Lease(block_);
}

void BlockLease::Release() {
  if (pool_ == nullptr) return;
  std::exchange(pool_, nullptr)->ReleaseRef(std::exchange(block_, kNoBlock));
}

BlockPool::BlockPool(int32_t num_blocks, EvictionListener* listener)
    : listener_(listener), nodes_(num_blocks > 0 ? num_blocks : 0), num_free_(num_blocks) {
  PINGTI_CHECK(num_blocks > 0);
  for (BlockId block = num_blocks - 1; block >= 0; --block) {
    nodes_[block].next = free_head_;
    free_head_ = block;
  }
}

BlockLease BlockPool::Allocate() {
  if (num_free_ == 0) {
    if (num_cached_ == 0) return BlockLease();
    EvictOldest();
  }
  const BlockId block = free_head_;
  Node& node = nodes_[block];
  free_head_ = node.next;
  --num_free_;
  node = Node{.refs = 1};
  return BlockLease(this, block);
}

BlockLease BlockPool::Lease(BlockId block) {
  Node& node = nodes_[block];
  PINGTI_CHECK_MSG(node.refs > 0 || node.keep, "lease of a free block");
  if (node.refs == 0) Unlink(block);
  ++node.refs;
  return BlockLease(this, block);
}

void BlockPool::SetKeep(BlockId block, bool keep) {
  PINGTI_CHECK(nodes_[block].refs > 0);
  nodes_[block].keep = keep;
}

void BlockPool::EvictAll() {
  while (num_cached_ > 0) EvictOldest();
}

void BlockPool::ReleaseRef(BlockId block) {
  Node& node = nodes_[block];
  PINGTI_CHECK(node.refs > 0);
  if (--node.refs > 0) return;
  if (node.keep) {
    node.previous = newest_cached_;
    node.next = kNoBlock;
    (newest_cached_ == kNoBlock ? oldest_cached_ : nodes_[newest_cached_].next) = block;
    newest_cached_ = block;
    ++num_cached_;
  } else {
    node.next = free_head_;
    free_head_ = block;
    ++num_free_;
  }
}

void BlockPool::Unlink(BlockId block) {
  Node& node = nodes_[block];
  (node.previous == kNoBlock ? oldest_cached_ : nodes_[node.previous].next) = node.next;
  (node.next == kNoBlock ? newest_cached_ : nodes_[node.next].previous) = node.previous;
  node.previous = node.next = kNoBlock;
  --num_cached_;
}

void BlockPool::EvictOldest() {
  const BlockId block = oldest_cached_;
  Unlink(block);
  Node& node = nodes_[block];
  node.keep = false;
  node.next = free_head_;
  free_head_ = block;
  ++num_free_;
  if (listener_ != nullptr) listener_->OnEvict(block);
}

absl::Status BlockPool::CheckInvariants() const {
  int32_t num_leased = 0;
  for (const Node& node : nodes_) num_leased += node.refs > 0 ? 1 : 0;
  int32_t num_free = 0;
  for (BlockId block = free_head_; block != kNoBlock; block = nodes_[block].next) {
    if (nodes_[block].refs != 0 || nodes_[block].keep) {
      return absl::InternalError(Concat("block ", block, " is on the free list but in use"));
    }
    if (++num_free > total()) return absl::InternalError("the free list has a cycle");
  }
  int32_t num_cached = 0;
  BlockId previous = kNoBlock;
  for (BlockId block = oldest_cached_; block != kNoBlock; block = nodes_[block].next) {
    const Node& node = nodes_[block];
    if (node.refs != 0 || !node.keep || node.previous != previous) {
      return absl::InternalError(Concat("block ", block, " is wrongly on the cached list"));
    }
    if (++num_cached > total()) return absl::InternalError("the cached list has a cycle");
    previous = block;
  }
  if (previous != newest_cached_) return absl::InternalError("the cached list's end is wrong");
  if (num_free != num_free_ || num_cached != num_cached_ ||
      num_free + num_leased + num_cached != total()) {
    return absl::InternalError(Concat("free ", num_free, " (counted ", num_free_, ") + leased ",
                                      num_leased, " + cached ", num_cached, " (counted ",
                                      num_cached_, ") is not total ", total()));
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker
