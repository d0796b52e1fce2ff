// See prefix_affinity.h.
#include "router/policy/prefix_affinity.h"

namespace pingti::router {

size_t PrefixAffinityPolicy::Pick(uint64_t prompt_tokens, std::span<const WorkerLoad> candidates) {
  return cheapest_.Pick(prompt_tokens, candidates);
}

}  // namespace pingti::router
