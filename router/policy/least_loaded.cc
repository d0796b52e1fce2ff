// See least_loaded.h.
#include "router/policy/least_loaded.h"

namespace pingti::router {

size_t LeastLoadedPolicy::Pick(const PlacementRequest& request,
                               std::span<const WorkerLoad> candidates) {
  const CostEstimate estimate(settings_, candidates);
  return cheapest_.Pick(candidates, [&](const WorkerLoad& load) {
    return estimate.Seconds(static_cast<double>(request.prompt_tokens), load);
  });
}

}  // namespace pingti::router
