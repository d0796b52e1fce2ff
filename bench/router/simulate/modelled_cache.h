// The KV cache of a modelled worker: blocks that sequences lease, and known ones that nobody holds,
// of which the least recently used goes first (worker/cache, without contents).
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <unordered_map>
#include <vector>

namespace pingti::bench {

// Thread-compatible.
class ModelledCache {
 public:
  struct Changes {
    std::vector<uint64_t> stored;
    std::vector<uint64_t> removed;
  };

  explicit ModelledCache(uint64_t num_blocks) : num_blocks_(num_blocks) {}

  uint64_t total() const { return num_blocks_; }
  uint64_t leased() const { return own_ + held_; }
  // Blocks that a lease could get.
  uint64_t available() const { return num_blocks_ - leased(); }

  // How many of `chain`'s first blocks are known.
  size_t CountKnown(std::span<const uint64_t> chain) const;
  // Of `blocks`, all known, how many nobody holds.
  uint64_t CountIdle(std::span<const uint64_t> blocks) const;

  // REQUIRES: every block is known.
  void LeaseKnown(std::span<const uint64_t> blocks);
  // `count` new blocks without a name. REQUIRES: count <= available().
  void LeaseNew(uint64_t count);
  // One leased block without a name is now `hash`'s; an equal one that is known takes its place.
  void Name(uint64_t hash);
  // Gives back named blocks, the last first, and `unnamed` others.
  void Release(std::span<const uint64_t> blocks, uint64_t unnamed);

  // Since the last call.
  Changes TakeChanges();

 private:
  struct Block {
    uint32_t holders = 0;
    std::list<uint64_t>::iterator idle{};  // its place, when there are no holders
  };
  void Hold(Block* block);

  const uint64_t num_blocks_;
  uint64_t own_ = 0;   // leased without a name
  uint64_t held_ = 0;  // known blocks with holders
  std::unordered_map<uint64_t, Block> known_;
  std::list<uint64_t> idle_;  // least recently used first
  Changes changes_;
};

}  // namespace pingti::bench
