// Which blocks of prompts each worker has cached, by their hash chain (common/base/block_hash.h),
// as far as this router knows: one inverted index, from a block to the workers that have it.
//
// Two sources: a worker's KvEvents, and what it said of a sequence's own cached beginning, which
// fills in what it had cached before this router came. Both only guide the choice of a worker; a
// wrong entry costs time, never an answer. While the bounds are not reached the index holds exactly
// what was stored and not removed since.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/base/mutex.h"
#include "router/worker_link/messages.h"

namespace pingti::router {

// Thread-safe. Sessions of workers have slots; slots come in groups of 64, and an entry holds the
// bits of one group for one block. One lock, of its own, is held for a few dozen blocks at a time,
// and for a 64th of the entries while a session's are taken out: 0.2 ms at the bound.
//
// An entry takes 17 bytes, in a table that is between 7/16 and 7/8 full: 20 to 39 bytes. So the
// default bound is 2 million entries in at most 82 MB, enough for 64 workers that share nothing
// with 32,000 blocks each.
class PrefixIndex {
 public:
  static constexpr size_t kDefaultMaxEntries = 1u << 21;

  // Of a chain of blocks, how many of the first ones each slot has without a gap.
  class Match {
   public:
    size_t Blocks(size_t slot) const { return slot < blocks_.size() ? blocks_[slot] : 0; }

   private:
    friend class PrefixIndex;
    std::vector<uint32_t> blocks_;  // by slot; those past its end have none
  };

  // Past `max_entries`, blocks that are in no entry yet are not remembered until others go.
  explicit PrefixIndex(size_t max_entries = kDefaultMaxEntries) : max_entries_(max_entries) {}

  // O(longest match), whatever the number of workers in a group.
  Match Find(std::span<const uint64_t> hashes) const;
  size_t num_entries() const;

 private:
  friend class ExpectedPrefixes;
  friend class WorkerPrefixes;

  static constexpr size_t kGroupSlots = 64;
  static constexpr size_t kNumTables = 64;

  using Table = absl::flat_hash_map<uint64_t, uint64_t>;  // a block's hash to its bits, never 0
  // By a few bits of the hash, so that all entries can be visited in parts.
  using Group = std::array<Table, kNumTables>;

  size_t AcquireSlot();
  // REQUIRES: the slot has no blocks any more.
  void ReleaseSlot(size_t slot);
  // Enters `hashes` until `room` of them were new to the slot. Returns how many were.
  size_t Add(size_t slot, std::span<const uint64_t> hashes, size_t room);
  // Returns how many of `hashes` the slot had.
  size_t Remove(size_t slot, std::span<const uint64_t> hashes);
  // Visits every entry of the slot's group.
  void RemoveAll(size_t slot);

  // False when nothing changed: the slot had the block, or there is no room.
  bool AddOne(Group* group, uint64_t bit, uint64_t hash) PINGTI_REQUIRES(mutex_);
  bool RemoveOne(Group* group, uint64_t bit, uint64_t hash) PINGTI_REQUIRES(mutex_);

  const size_t max_entries_;
  mutable Mutex mutex_;
  std::vector<bool> slots_ PINGTI_GUARDED_BY(mutex_);  // taken or free
  std::vector<std::unique_ptr<Group>> groups_ PINGTI_GUARDED_BY(mutex_);
  size_t num_entries_ PINGTI_GUARDED_BY(mutex_) = 0;
};

// Blocks of the prompts that a session's worker was sent and has not ended: it computes them or
// holds them. The same index, filled by the router itself, so that prompts which come in one burst
// meet where the first of them is computed. Of two sequences with the same block the first to end
// takes it out: the worker's events have named it by then. Thread-safe.
class ExpectedPrefixes {
 public:
  // `index` must outlive this; everything of this session leaves it with this.
  explicit ExpectedPrefixes(PrefixIndex* index) : index_(index), slot_(index->AcquireSlot()) {}
  ~ExpectedPrefixes() {
    index_->RemoveAll(slot_);
    index_->ReleaseSlot(slot_);
  }
  ExpectedPrefixes(const ExpectedPrefixes&) = delete;
  ExpectedPrefixes& operator=(const ExpectedPrefixes&) = delete;

  void Add(std::span<const uint64_t> hashes) { index_->Add(slot_, hashes, hashes.size()); }
  void Remove(std::span<const uint64_t> hashes) { index_->Remove(slot_, hashes); }

  size_t slot() const { return slot_; }

 private:
  PrefixIndex* const index_;
  const size_t slot_;
};

// What the index knows of one session of one worker; gone from the index when destroyed.
// Thread-compatible: the calls of one session's link are serial.
class WorkerPrefixes {
 public:
  // Past `max_blocks`, further blocks are not remembered until others go. `index` must outlive
  // this.
  WorkerPrefixes(PrefixIndex* index, size_t max_blocks);
  ~WorkerPrefixes();
  WorkerPrefixes(const WorkerPrefixes&) = delete;
  WorkerPrefixes& operator=(const WorkerPrefixes&) = delete;

  // A gap in the events' ids forgets everything.
  void Apply(const KvEvents& events);
  void Add(std::span<const uint64_t> hashes);

  size_t slot() const { return slot_; }
  size_t num_blocks() const { return num_blocks_; }

 private:
  void Clear();

  PrefixIndex* const index_;
  const size_t max_blocks_;
  const size_t slot_;
  size_t num_blocks_ = 0;
  uint64_t next_event_id_ = 0;  // 0: no events yet
};

}  // namespace pingti::router
