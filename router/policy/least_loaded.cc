// See least_loaded.h.
#include "router/policy/least_loaded.h"

namespace pingti::router {

LeastLoadedPolicy::LeastLoadedPolicy(CostSettings settings)
    : cheapest_(settings, [](uint64_t prompt_tokens, const WorkerLoad&) { return prompt_tokens; }) {
}

size_t LeastLoadedPolicy::Pick(uint64_t prompt_tokens, std::span<const WorkerLoad> candidates) {
  return cheapest_.Pick(prompt_tokens, candidates);
}

}  // namespace pingti::router
