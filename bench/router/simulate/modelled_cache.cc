// See modelled_cache.h.
#include "bench/router/simulate/modelled_cache.h"

#include <utility>

#include "common/base/check.h"

namespace pingti::bench {

size_t ModelledCache::CountKnown(std::span<const uint64_t> chain) const {
  size_t count = 0;
  while (count < chain.size() && known_.contains(chain[count])) ++count;
  return count;
}

uint64_t ModelledCache::CountIdle(std::span<const uint64_t> blocks) const {
  uint64_t count = 0;
  for (const uint64_t hash : blocks) count += known_.at(hash).holders == 0 ? 1 : 0;
  return count;
}

void ModelledCache::Hold(Block* block) {
  if (block->holders++ > 0) return;
  idle_.erase(block->idle);
  ++held_;
}

void ModelledCache::LeaseKnown(std::span<const uint64_t> blocks) {
  for (const uint64_t hash : blocks) Hold(&known_.at(hash));
}

void ModelledCache::LeaseNew(uint64_t count) {
  PINGTI_CHECK(count <= available());
  own_ += count;
  while (leased() + idle_.size() > num_blocks_) {
    changes_.removed.push_back(idle_.front());
    known_.erase(idle_.front());
    idle_.pop_front();
  }
}

void ModelledCache::Name(uint64_t hash) {
  --own_;
  const auto [block, is_new] = known_.try_emplace(hash);
  if (!is_new) {
    Hold(&block->second);
    return;
  }
  block->second.holders = 1;
  ++held_;
  changes_.stored.push_back(hash);
}

void ModelledCache::Release(std::span<const uint64_t> blocks, uint64_t unnamed) {
  own_ -= unnamed;
  for (size_t i = blocks.size(); i > 0; --i) {
    Block& block = known_.at(blocks[i - 1]);
    if (--block.holders > 0) continue;
    --held_;
    block.idle = idle_.insert(idle_.end(), blocks[i - 1]);
  }
}

ModelledCache::Changes ModelledCache::TakeChanges() { return std::exchange(changes_, {}); }

}  // namespace pingti::bench
