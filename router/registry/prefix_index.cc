// See prefix_index.h.
#include "router/registry/prefix_index.h"

#include "proto/pingti/worker/v1/worker.pb.h"

namespace pingti::router {

void PrefixIndex::Add(uint64_t hash) {
  if (blocks_.size() < max_blocks_) blocks_.insert(hash);
}

void PrefixIndex::Add(std::span<const uint64_t> hashes) {
  for (const uint64_t hash : hashes) Add(hash);
}

void PrefixIndex::Apply(const worker::v1::KvEvents& events) {
  if (next_event_id_ != 0 && events.first_event_id() != next_event_id_) blocks_.clear();
  next_event_id_ = events.first_event_id() + static_cast<uint64_t>(events.events_size());
  for (const worker::v1::KvEvent& event : events.events()) {
    switch (event.event_case()) {
      case worker::v1::KvEvent::kStored:
        for (const uint64_t hash : event.stored().block_hashes()) Add(hash);
        break;
      case worker::v1::KvEvent::kRemoved:
        for (const uint64_t hash : event.removed().block_hashes()) blocks_.erase(hash);
        break;
      case worker::v1::KvEvent::kCleared:
      case worker::v1::KvEvent::EVENT_NOT_SET:  // a newer worker's: what it changed is not known
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
