// The worker that should give the first token soonest, whatever it has cached.
#pragma once

#include "router/policy/cost.h"
#include "router/policy/policy.h"

namespace pingti::router {

// Cost: see cost.h, with the whole prompt to compute.
class LeastLoadedPolicy final : public Policy {
 public:
  size_t Pick(uint64_t prompt_tokens, std::span<const WorkerLoad> candidates) override;

 private:
  CheapestWorker cheapest_{[](uint64_t prompt_tokens, const WorkerLoad&) { return prompt_tokens; }};
};

}  // namespace pingti::router
