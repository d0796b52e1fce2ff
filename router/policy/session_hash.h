// Requests of one session go to one worker, whatever is cached there: for workers that send no KV
// events, and for routers that should agree without any.
#pragma once

#include "router/policy/cost.h"
#include "router/policy/policy.h"

namespace pingti::router {

struct SessionHashSettings {
  // How many times the mean number of sequences a worker may have before its sessions go on
  // elsewhere; more than 1.
  double load_factor = 1.25;
};

// Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018) on rendezvous
// hashing: each session takes the first worker of its order (rendezvous.h) that has less than its
// bound. A session is the request's affinity hint; without one it is the
// beginning of the prompt, its first block; a prompt shorter than that goes to the least loaded.
class SessionHashPolicy final : public Policy {
 public:
  static constexpr std::string_view kName = "session_hash";

  SessionHashPolicy(const SessionHashSettings& settings, const CostSettings& cost)
      : settings_(settings), cost_(cost) {}

  std::string_view name() const override { return kName; }
  size_t Pick(const PlacementRequest& request, std::span<const WorkerLoad> candidates) override;

 private:
  const SessionHashSettings settings_;
  const CostSettings cost_;
  CheapestWorker cheapest_;
};

}  // namespace pingti::router
