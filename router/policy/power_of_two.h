// The better of two workers drawn at random: good where many routers see old loads.
#pragma once

#include <random>

#include "router/policy/cost.h"
#include "router/policy/policy.h"

namespace pingti::router {

// Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001: two choices bring
// most of what all of them would, and routers that see the same old report do not all run to the
// same worker. Costs are those of cost.h, with the whole prompt to compute.
class PowerOfTwoPolicy final : public Policy {
 public:
  static constexpr std::string_view kName = "power_of_two";

  // Routers should have different seeds.
  PowerOfTwoPolicy(const CostSettings& settings, uint64_t seed)
      : settings_(settings), random_(seed) {}

  std::string_view name() const override { return kName; }
  size_t Pick(const PlacementRequest& request, std::span<const WorkerLoad> candidates) override;

 private:
  const CostSettings settings_;
  std::mt19937_64 random_;
};

}  // namespace pingti::router
