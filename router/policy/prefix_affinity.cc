// See prefix_affinity.h.
#include "router/policy/prefix_affinity.h"

namespace pingti::router {
namespace {

// The last token is always computed: its logits are the answer's first.
uint64_t UncachedTokens(uint64_t prompt_tokens, const WorkerLoad& load) {
  return load.cached_prompt_tokens < prompt_tokens ? prompt_tokens - load.cached_prompt_tokens : 1;
}

}  // namespace

PrefixAffinityPolicy::PrefixAffinityPolicy(CostSettings settings)
    : cheapest_(settings, UncachedTokens) {}

size_t PrefixAffinityPolicy::Pick(uint64_t prompt_tokens, std::span<const WorkerLoad> candidates) {
  return cheapest_.Pick(prompt_tokens, candidates);
}

}  // namespace pingti::router
