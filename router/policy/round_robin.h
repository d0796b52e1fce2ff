// Workers in turn, blind to load: the baseline that other policies are measured against.
#pragma once

#include "router/policy/policy.h"

namespace pingti::router {

// Round robin, which is what weighted round robin (Katevenis, Sidiropoulos and Courcoubetis, 1991)
// becomes with equal weights: the next worker, by ascending key, after the one picked last; so a
// worker that comes or goes does not make another one be skipped.
class RoundRobinPolicy final : public Policy {
 public:
  static constexpr std::string_view kName = "round_robin";

  std::string_view name() const override { return kName; }
  size_t Pick(const PlacementRequest& request, std::span<const WorkerLoad> candidates) override;

 private:
  uint64_t last_worker_ = 0;
};

}  // namespace pingti::router
