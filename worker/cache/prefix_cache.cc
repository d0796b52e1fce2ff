// See prefix_cache.h.
#include "worker/cache/prefix_cache.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::worker {

PrefixCache::PrefixCache(int32_t num_blocks, int32_t block_tokens)
    : block_tokens_(block_tokens),
      pool_(num_blocks, this),
      entries_(num_blocks),
      tokens_(static_cast<size_t>(num_blocks) * block_tokens),
      index_(std::bit_ceil(static_cast<size_t>(num_blocks) * 2), kNoBlock) {
  PINGTI_CHECK(block_tokens > 0);
  events_.reserve(256);
}

BlockId PrefixCache::Find(const ChainLink& parent, uint64_t hash, std::span<const int32_t> tokens,
                          std::string_view salt, ChainLink* link) const {
  const BlockId block = index_[FindSlot(hash)];
  if (block == kNoBlock || !Matches(block, parent, tokens, salt)) return kNoBlock;
  if (link != nullptr) *link = {hash, entries_[block].serial};
  return block;
}

bool PrefixCache::Store(const ChainLink& parent, uint64_t hash, std::span<const int32_t> tokens,
                        std::string_view salt, BlockLease* lease, ChainLink* link) {
  PINGTI_CHECK(static_cast<int32_t>(tokens.size()) == block_tokens_);
  PINGTI_CHECK(salt.size() <= kMaxSaltBytes);
  const size_t slot = FindSlot(hash);
  const BlockId known = index_[slot];
  if (known != kNoBlock) {
    if (!Matches(known, parent, tokens, salt)) return false;
    if (known != lease->block()) *lease = pool_.Lease(known);
    *link = {hash, entries_[known].serial};
    return true;
  }
  const BlockId block = lease->block();
  Entry& entry = entries_[block];
  PINGTI_CHECK_MSG(entry.serial == 0, "a block is stored twice");
  entry.hash = hash;
  entry.serial = next_serial_++;
  entry.parent_serial = parent.serial;
  entry.salt_bytes = static_cast<uint8_t>(salt.size());
  std::copy(salt.begin(), salt.end(), entry.salt);
  std::copy(tokens.begin(), tokens.end(),
            tokens_.begin() + static_cast<ptrdiff_t>(block) * block_tokens_);
  index_[slot] = block;
  pool_.SetKeep(block, true);
  events_.push_back({CacheEvent::Kind::kStored, parent.serial == 0 ? 0 : parent.hash, hash});
  *link = {hash, entry.serial};
  return true;
}

ChainLink PrefixCache::LinkAfter(BlockId block) const {
  const Entry& entry = entries_[block];
  PINGTI_CHECK(entry.serial != 0);
  return {entry.hash, entry.serial};
}

void PrefixCache::OnEvict(BlockId block) {
  Entry& entry = entries_[block];
  const size_t slot = FindSlot(entry.hash);
  PINGTI_CHECK(index_[slot] == block);
  EraseSlot(slot);
  events_.push_back({CacheEvent::Kind::kRemoved, 0, entry.hash});
  entry.serial = 0;
}

size_t PrefixCache::FindSlot(uint64_t hash) const {
  const size_t mask = index_.size() - 1;
  size_t slot = hash & mask;
  while (index_[slot] != kNoBlock && entries_[index_[slot]].hash != hash) slot = (slot + 1) & mask;
  return slot;
}

void PrefixCache::EraseSlot(size_t slot) {
  // Backward shift: move up every later entry of the run that may not be skipped over.
  const size_t mask = index_.size() - 1;
  size_t hole = slot;
  for (size_t next = (hole + 1) & mask; index_[next] != kNoBlock; next = (next + 1) & mask) {
    const size_t home = entries_[index_[next]].hash & mask;
    if (((next - home) & mask) >= ((next - hole) & mask)) {
      index_[hole] = index_[next];
      hole = next;
    }
  }
  index_[hole] = kNoBlock;
}

bool PrefixCache::Matches(BlockId block, const ChainLink& parent, std::span<const int32_t> tokens,
                          std::string_view salt) const {
  const Entry& entry = entries_[block];
  if (entry.parent_serial != parent.serial) return false;
  if (std::string_view(entry.salt, entry.salt_bytes) != salt) return false;
  return std::equal(tokens.begin(), tokens.end(),
                    tokens_.begin() + static_cast<ptrdiff_t>(block) * block_tokens_);
}

absl::Status PrefixCache::CheckInvariants() const {
  absl::Status status = pool_.CheckInvariants();
  if (!status.ok()) return status;
  int32_t num_indexed = 0;
  for (size_t slot = 0; slot < index_.size(); ++slot) {
    const BlockId block = index_[slot];
    if (block == kNoBlock) continue;
    ++num_indexed;
    if (entries_[block].serial == 0 || FindSlot(entries_[block].hash) != slot) {
      return absl::InternalError(Concat("block ", block, " is wrongly indexed"));
    }
  }
  int32_t num_known = 0;
  for (BlockId block = 0; block < pool_.total(); ++block) {
    const bool known = entries_[block].serial != 0;
    num_known += known ? 1 : 0;
    if (known != pool_.kept(block)) {
      return absl::InternalError(
          Concat("block ", block, " is known but not kept, or kept but not known"));
    }
  }
  if (num_known != num_indexed) {
    return absl::InternalError(Concat(num_known, " blocks are known, ", num_indexed, " indexed"));
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker
