// See prefix_index.h.
#include "router/registry/prefix_index.h"

#include <algorithm>
#include <bit>

namespace pingti::router {
namespace {

// Blocks handled under one hold of the lock.
constexpr size_t kSlice = 64;

constexpr uint64_t BitOf(size_t slot) { return uint64_t{1} << slot % 64; }

size_t TableOf(uint64_t hash) { return (hash * 0x9e3779b97f4a7c15u) >> 58; }  // 2^64 / golden ratio

}  // namespace

size_t PrefixIndex::AcquireSlot() {
  MutexLock lock(&mutex_);
  const auto free = std::find(slots_.begin(), slots_.end(), false);
  const auto slot = static_cast<size_t>(free - slots_.begin());
  if (free == slots_.end()) {
    slots_.push_back(true);
  } else {
    *free = true;
  }
  if (groups_.size() <= slot / kGroupSlots) groups_.push_back(std::make_unique<Group>());
  return slot;
}

void PrefixIndex::ReleaseSlot(size_t slot) {
  MutexLock lock(&mutex_);
  slots_[slot] = false;
}

bool PrefixIndex::AddOne(Group* group, uint64_t bit, uint64_t hash) {
  Table& table = (*group)[TableOf(hash)];
  if (num_entries_ >= max_entries_) {
    const auto found = table.find(hash);
    if (found == table.end() || (found->second & bit) != 0) return false;
    found->second |= bit;
    return true;
  }
  const auto [entry, is_new] = table.try_emplace(hash, 0);
  if (is_new) ++num_entries_;
  if ((entry->second & bit) != 0) return false;
  entry->second |= bit;
  return true;
}

bool PrefixIndex::RemoveOne(Group* group, uint64_t bit, uint64_t hash) {
  Table& table = (*group)[TableOf(hash)];
  const auto found = table.find(hash);
  if (found == table.end() || (found->second & bit) == 0) return false;
  found->second &= ~bit;
  if (found->second == 0) {
    table.erase(found);
    --num_entries_;
  }
  return true;
}

size_t PrefixIndex::Add(size_t slot, std::span<const uint64_t> hashes, size_t room) {
  size_t added = 0;
  while (!hashes.empty() && added < room) {
    const auto slice = hashes.first(std::min({kSlice, hashes.size(), room - added}));
    hashes = hashes.subspan(slice.size());
    MutexLock lock(&mutex_);
    Group* group = groups_[slot / kGroupSlots].get();
    for (const uint64_t hash : slice) added += AddOne(group, BitOf(slot), hash) ? 1 : 0;
  }
  return added;
}

size_t PrefixIndex::Remove(size_t slot, std::span<const uint64_t> hashes) {
  size_t removed = 0;
  while (!hashes.empty()) {
    const auto slice = hashes.first(std::min(kSlice, hashes.size()));
    hashes = hashes.subspan(slice.size());
    MutexLock lock(&mutex_);
    Group* group = groups_[slot / kGroupSlots].get();
    for (const uint64_t hash : slice) removed += RemoveOne(group, BitOf(slot), hash) ? 1 : 0;
  }
  return removed;
}

void PrefixIndex::RemoveAll(size_t slot) {
  for (size_t i = 0; i < kNumTables; ++i) {
    MutexLock lock(&mutex_);
    Table& table = (*groups_[slot / kGroupSlots])[i];
    for (auto it = table.begin(); it != table.end();) {
      const auto entry = it++;
      entry->second &= ~BitOf(slot);
      if (entry->second != 0) continue;
      table.erase(entry);
      --num_entries_;
    }
    if (table.size() < table.capacity() / 4) table.rehash(0);  // gives the memory back
  }
}

PrefixIndex::Match PrefixIndex::Find(std::span<const uint64_t> hashes) const {
  Match match;
  std::vector<uint64_t> alive;  // per group, the slots that have every block so far
  const auto end_match = [&match](size_t group, uint64_t bits, size_t num_blocks) {
    for (; bits != 0; bits &= bits - 1) {
      const size_t slot = group * kGroupSlots + static_cast<size_t>(std::countr_zero(bits));
      if (match.blocks_.size() <= slot) match.blocks_.resize(slot + 1);
      match.blocks_[slot] = static_cast<uint32_t>(num_blocks);
    }
  };
  size_t begin = 0;
  bool any = true;
  for (size_t slice = 8; begin < hashes.size() && any; slice = kSlice) {
    const size_t end = std::min(begin + slice, hashes.size());
    MutexLock lock(&mutex_);
    if (begin == 0) alive.assign(groups_.size(), ~uint64_t{0});
    any = false;
    for (size_t group = 0; group < alive.size(); ++group) {
      const Group& tables = *groups_[group];
      if (alive[group] == 0) continue;
      // One miss of the cache does not wait for the one before it.
      for (size_t i = begin; i < end; ++i) tables[TableOf(hashes[i])].prefetch(hashes[i]);
      for (size_t i = begin; i < end && alive[group] != 0; ++i) {
        const Table& table = tables[TableOf(hashes[i])];
        const auto found = table.find(hashes[i]);
        const uint64_t bits = found == table.end() ? 0 : found->second;
        if (i > 0) end_match(group, alive[group] & ~bits, i);
        alive[group] &= bits;
      }
      any |= alive[group] != 0;
    }
    begin = end;
  }
  for (size_t group = 0; group < alive.size(); ++group) {
    end_match(group, alive[group], hashes.size());
  }
  return match;
}

size_t PrefixIndex::num_entries() const {
  MutexLock lock(&mutex_);
  return num_entries_;
}

WorkerPrefixes::WorkerPrefixes(PrefixIndex* index, size_t max_blocks)
    : index_(index), max_blocks_(max_blocks), slot_(index->AcquireSlot()) {}

WorkerPrefixes::~WorkerPrefixes() {
  Clear();
  index_->ReleaseSlot(slot_);
}

void WorkerPrefixes::Clear() {
  if (num_blocks_ > 0) index_->RemoveAll(slot_);
  num_blocks_ = 0;
}

void WorkerPrefixes::Add(std::span<const uint64_t> hashes) {
  num_blocks_ += index_->Add(slot_, hashes, max_blocks_ - num_blocks_);
}

void WorkerPrefixes::Apply(const KvEvents& events) {
  if (next_event_id_ != 0 && events.first_event_id != next_event_id_) Clear();
  next_event_id_ = events.first_event_id + events.events.size();
  for (const KvEvent& event : events.events) {
    switch (event.kind) {
      case KvEvent::Kind::kStored:
        Add(event.block_hashes);
        break;
      case KvEvent::Kind::kRemoved:
        num_blocks_ -= index_->Remove(slot_, event.block_hashes);
        break;
      case KvEvent::Kind::kCleared:
        Clear();
        break;
    }
  }
}

}  // namespace pingti::router
