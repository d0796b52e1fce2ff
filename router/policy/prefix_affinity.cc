// See prefix_affinity.h.
#include "router/policy/prefix_affinity.h"

#include <algorithm>

#include "router/policy/rendezvous.h"

namespace pingti::router {
namespace {

// The last token is always computed: its logits are the answer's first.
uint64_t UncachedTokens(uint64_t prompt_tokens, const WorkerLoad& load) {
  return load.cached_prompt_tokens < prompt_tokens ? prompt_tokens - load.cached_prompt_tokens : 1;
}

// The worker that the hint names; 0 where there is none, or somebody has some of the prompt.
WorkerKey HintedWorker(const PlacementRequest& request, std::span<const WorkerLoad> candidates) {
  const bool any_cached = std::any_of(candidates.begin(), candidates.end(), [](const auto& load) {
    return load.cached_prompt_tokens > 0;
  });
  if (request.affinity_hint.empty() || any_cached) return 0;
  const uint64_t session = StableHash(request.affinity_hint);
  return std::max_element(candidates.begin(), candidates.end(),
                          [&](const WorkerLoad& a, const WorkerLoad& b) {
                            return RendezvousWeight(session, a) < RendezvousWeight(session, b);
                          })
      ->worker;
}

}  // namespace

size_t PrefixAffinityPolicy::Pick(const PlacementRequest& request,
                                  std::span<const WorkerLoad> candidates) {
  const CostEstimate estimate(cost_, candidates);
  const WorkerKey hinted = HintedWorker(request, candidates);
  return cheapest_.Pick(candidates, [&](const WorkerLoad& load) {
    const auto tokens = static_cast<double>(UncachedTokens(request.prompt_tokens, load));
    const double seconds = estimate.PrefillSeconds(tokens);
    const double worth = load.worker == hinted ? settings_.hint_tokens : 0;
    return estimate.Seconds(settings_.recompute_weight * tokens - worth, load) +
           settings_.arrival_rate * seconds * seconds / 2;
  });
}

}  // namespace pingti::router
