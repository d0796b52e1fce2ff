// See round_robin.h.
#include "router/policy/round_robin.h"

namespace pingti::router {

size_t RoundRobinPolicy::Pick(const PlacementRequest&, std::span<const WorkerLoad> candidates) {
  size_t next = candidates.size();  // smallest key above the last one
  size_t first = 0;                 // smallest key of all
  for (size_t i = 0; i < candidates.size(); ++i) {
    const uint64_t key = candidates[i].worker;
    if (key < candidates[first].worker) first = i;
    if (key > last_worker_ && (next == candidates.size() || key < candidates[next].worker))
      next = i;
  }
  const size_t picked = next == candidates.size() ? first : next;
  last_worker_ = candidates[picked].worker;
  return picked;
}

}  // namespace pingti::router
