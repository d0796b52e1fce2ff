// Which blocks hold the KV of which token prefix, so that sequences with a common beginning share
// it.
//
// A full block is known by its hash chain (common/base/block_hash.h). A hit is believed only after
// the tokens, the salt and the link to the verified parent were compared, so two prompts with equal
// hashes never share. Owns the block pool. Confined to the engine thread. Read next: block_pool.h.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "common/base/block_hash.h"
#include "worker/cache/block_pool.h"

namespace pingti::worker {

// A change of the set of cached prefixes, for routers' indexes.
struct CacheEvent {
  enum class Kind { kStored, kRemoved };
  Kind kind;
  uint64_t parent_hash;  // with kStored; 0: the chain starts here
  uint64_t hash;
};

// Longest salt in bytes: a request's own, and with an adapter's id. It is kept beside each block.
inline constexpr size_t kMaxCacheSaltBytes = 64;
inline constexpr size_t kMaxSaltBytes = kMaxCacheSaltBytes + kMaxAdapterIdBytes + 1;

// A place in a verified chain: after the block this names. Default: before the first block.
struct ChainLink {
  uint64_t hash = 0;
  uint64_t serial = 0;  // 0: the start

  bool operator==(const ChainLink&) const = default;
};

class PrefixCache : private EvictionListener {
 public:
  // REQUIRES: both > 0. All memory is taken here; no later call allocates, but TakeEvents' buffer.
  PrefixCache(int32_t num_blocks, int32_t block_tokens);

  BlockPool& pool() { return pool_; }
  const BlockPool& pool() const { return pool_; }
  int32_t block_tokens() const { return block_tokens_; }

  // The block that holds `tokens` after `parent`, or kNoBlock. `link` (if not null) becomes the
  // place after it. `hash` is ChainBlockHash of the parent's hash and the tokens. Changes nothing.
  // REQUIRES: tokens.size() == block_tokens.
  BlockId Find(const ChainLink& parent, uint64_t hash, std::span<const int32_t> tokens,
               std::string_view salt, ChainLink* link) const;

  // Makes a leased, fully computed block findable. When an equal block is known already, the lease
  // is exchanged for one on that block (the content is the same), and the own block is given back.
  // When another chain has the same hash, the block just stays unknown. Sets `link` to the place
  // after the block; false when it stayed unknown (then nothing may be stored behind it).
  bool Store(const ChainLink& parent, uint64_t hash, std::span<const int32_t> tokens,
             std::string_view salt, BlockLease* lease, ChainLink* link);

  // The place after a block that is known. REQUIRES: pool().kept(block).
  ChainLink LinkAfter(BlockId block) const;

  // Forgets every block that no sequence holds.
  void EvictAll() { pool_.EvictAll(); }

  // Changes since ClearEvents, in order.
  std::span<const CacheEvent> events() const { return events_; }
  void ClearEvents() { events_.clear(); }

  absl::Status CheckInvariants() const;

 private:
  struct Entry {
    uint64_t hash = 0;
    uint64_t serial = 0;  // 0: the block is not known
    uint64_t parent_serial = 0;
    uint8_t salt_bytes = 0;
    char salt[kMaxSaltBytes] = {};
  };

  void OnEvict(BlockId block) override;
  // The entry's slot in index_, or the empty slot where it belongs.
  size_t FindSlot(uint64_t hash) const;
  void EraseSlot(size_t slot);
  bool Matches(BlockId block, const ChainLink& parent, std::span<const int32_t> tokens,
               std::string_view salt) const;

  const int32_t block_tokens_;
  BlockPool pool_;
  std::vector<Entry> entries_;   // [num_blocks]
  std::vector<int32_t> tokens_;  // [num_blocks, block_tokens]
  // Open addressing with linear probing; at most half full.
  std::vector<BlockId> index_;
  uint64_t next_serial_ = 1;
  std::vector<CacheEvent> events_;
};

}  // namespace pingti::worker
