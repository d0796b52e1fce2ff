// See prefix_index.h.
#include "router/registry/prefix_index.h"

namespace pingti::router {

void PrefixIndex::Add(uint64_t hash) {
  if (blocks_.size() < max_blocks_) blocks_.insert(hash);
}

void PrefixIndex::Add(std::span<const uint64_t> hashes) {
  for (const uint64_t hash : hashes) Add(hash);
}

void PrefixIndex::Apply(const KvEvents& events) {
  if (next_event_id_ != 0 && events.first_event_id != next_event_id_) blocks_.clear();
  next_event_id_ = events.first_event_id + events.events.size();
  for (const KvEvent& event : events.events) {
    switch (event.kind) {
      case KvEvent::Kind::kStored:
        for (const uint64_t hash : event.block_hashes) Add(hash);
        break;
      case KvEvent::Kind::kRemoved:
        for (const uint64_t hash : event.block_hashes) blocks_.erase(hash);
        break;
      case KvEvent::Kind::kCleared:
        blocks_.clear();
        break;
    }
  }
}

size_t PrefixIndex::CountLeading(std::span<const uint64_t> hashes) const {
  size_t count = 0;
  while (count < hashes.size() && blocks_.contains(hashes[count])) ++count;
  return count;
}

}  // namespace pingti::router
