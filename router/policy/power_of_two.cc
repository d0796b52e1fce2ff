// See power_of_two.h.
#include "router/policy/power_of_two.h"

namespace pingti::router {

size_t PowerOfTwoPolicy::Pick(const PlacementRequest& request,
                              std::span<const WorkerLoad> candidates) {
  if (candidates.size() == 1) return 0;
  const size_t first = random_() % candidates.size();
  const size_t other = random_() % (candidates.size() - 1);
  const size_t second = other < first ? other : other + 1;
  const CostEstimate estimate(settings_, candidates);
  return estimate.Seconds(static_cast<double>(request.prompt_tokens), candidates[second]) <
                 estimate.Seconds(static_cast<double>(request.prompt_tokens), candidates[first])
             ? second
             : first;
}

}  // namespace pingti::router
