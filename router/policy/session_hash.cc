// See session_hash.h.
#include "router/policy/session_hash.h"

#include <cmath>

#include "router/policy/rendezvous.h"

namespace pingti::router {

size_t SessionHashPolicy::Pick(const PlacementRequest& request,
                               std::span<const WorkerLoad> candidates) {
  if (request.affinity_hint.empty() && request.block_hashes.empty()) {
    const CostEstimate estimate(cost_, candidates);
    return cheapest_.Pick(candidates, [&](const WorkerLoad& load) {
      return estimate.Seconds(static_cast<double>(request.prompt_tokens), load);
    });
  }
  const uint64_t session = request.affinity_hint.empty() ? request.block_hashes.front()
                                                         : StableHash(request.affinity_hint);
  uint64_t sequences = 1;  // the newcomer
  for (const WorkerLoad& load : candidates) sequences += load.sequences();
  const double bound = std::ceil(settings_.load_factor * static_cast<double>(sequences) /
                                 static_cast<double>(candidates.size()));
  // Some worker is below its bound, as the bounds together are more than all sequences.
  size_t best = candidates.size();
  uint64_t best_weight = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (candidates[i].sequences() >= bound) continue;
    const uint64_t weight = RendezvousWeight(session, candidates[i]);
    if (best == candidates.size() || weight > best_weight) {
      best = i;
      best_weight = weight;
    }
  }
  return best;
}

}  // namespace pingti::router
