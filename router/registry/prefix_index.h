// Which blocks of prompts one worker has cached, by their hash chain (common/base/block_hash.h), as
// far as this router knows.
//
// Two sources: the worker's KvEvents, and what it said of a sequence's own cached beginning, which
// fills in what it had cached before this router came. Both only guide the choice of a worker; a
// wrong entry costs time, never an answer. Lives and dies with one session of the worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/container/flat_hash_set.h"
#include "router/worker_link/messages.h"

namespace pingti::router {

// Thread-compatible.
class PrefixIndex {
 public:
  // Past `max_blocks`, further blocks are not remembered until others go.
  explicit PrefixIndex(size_t max_blocks) : max_blocks_(max_blocks) {}

  // A gap in the events' ids forgets everything.
  void Apply(const KvEvents& events);
  void Add(std::span<const uint64_t> hashes);
  // How many of `hashes`, from the first on without a gap, are known. O(result).
  size_t CountLeading(std::span<const uint64_t> hashes) const;

  size_t size() const { return blocks_.size(); }

 private:
  void Add(uint64_t hash);

  size_t max_blocks_;
  uint64_t next_event_id_ = 0;  // 0: no events yet
  absl::flat_hash_set<uint64_t> blocks_;
};

}  // namespace pingti::router
