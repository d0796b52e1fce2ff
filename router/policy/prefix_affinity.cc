// See prefix_affinity.h.
#include "router/policy/prefix_affinity.h"

namespace pingti::router {
namespace {

// The last token is always computed: its logits are the answer's first.
uint64_t UncachedTokens(uint64_t prompt_tokens, const WorkerLoad& load) {
  return load.cached_prompt_tokens < prompt_tokens ? prompt_tokens - load.cached_prompt_tokens : 1;
}

}  // namespace

size_t PrefixAffinityPolicy::Pick(const PlacementRequest& request,
                                  std::span<const WorkerLoad> candidates) {
  const CostEstimate estimate(settings_, candidates);
  return cheapest_.Pick(candidates, [&](const WorkerLoad& load) {
    return estimate.Seconds(UncachedTokens(request.prompt_tokens, load), load);
  });
}

}  // namespace pingti::router
