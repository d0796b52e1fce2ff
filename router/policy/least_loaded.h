// The worker that should give the first token soonest, whatever it has cached.
#pragma once

#include "router/policy/cost.h"
#include "router/policy/policy.h"

namespace pingti::router {

// Join the shortest queue (Winston, "Optimality of the shortest line discipline", 1977), where a
// queue's length is the time it will take: cost.h, with the whole prompt to compute.
class LeastLoadedPolicy final : public Policy {
 public:
  static constexpr std::string_view kName = "least_loaded";

  explicit LeastLoadedPolicy(const CostSettings& settings) : settings_(settings) {}

  std::string_view name() const override { return kName; }
  size_t Pick(const PlacementRequest& request, std::span<const WorkerLoad> candidates) override;

 private:
  const CostSettings settings_;
  CheapestWorker cheapest_;
};

}  // namespace pingti::router
