// The worker that has the longest beginning of the prompt cached, unless waiting for it costs more
// than computing that beginning again elsewhere.
#pragma once

#include "router/policy/cost.h"
#include "router/policy/policy.h"

namespace pingti::router {

struct PrefixAffinitySettings {
  // What a token that must be computed costs, where one that waits costs 1: computing again what
  // another worker has takes room in its cache and time from all who come after.
  double recompute_weight = 3;
  // Requests per second that a worker is taken to get: those who come while a prompt is computed
  // for s seconds wait s / 2 of them on average, which adds s * s * rate / 2.
  double arrival_rate = 1;
  // What the worker that the affinity hint names is worth, in tokens to prefill, where no worker
  // has a beginning of the prompt.
  uint32_t hint_tokens = 512;
};

// Weighs a cached prefix against load as Preble does (Srivatsa et al., "Preble: Efficient
// Distributed Prompt Scheduling for LLM Serving", 2024), in one estimate: cost.h, with what is
// cached taken off the prompt and the rest weighed. A worker that has the prefix gets the sequence
// until its queue is longer than another's by what the prefix is worth, and one that has nothing
// gets its share as soon as others have more to do. No worker is ever left out for what it has not
// cached.
//
// A sequence waits for a worker without credit while that one is still the cheapest, with those
// that wait for it already: delay scheduling (Zaharia et al., EuroSys 2010), with the estimate as
// its bound. Without prefixes, the hint names a worker by rendezvous hashing, so that several
// routers which have seen nothing yet agree.
class PrefixAffinityPolicy final : public Policy {
 public:
  static constexpr std::string_view kName = "prefix_affinity";

  PrefixAffinityPolicy(const PrefixAffinitySettings& settings, const CostSettings& cost)
      : settings_(settings), cost_(cost) {}

  std::string_view name() const override { return kName; }
  bool may_wait() const override { return true; }
  size_t Pick(const PlacementRequest& request, std::span<const WorkerLoad> candidates) override;

 private:
  const PrefixAffinitySettings settings_;
  const CostSettings cost_;
  CheapestWorker cheapest_;
};

}  // namespace pingti::router
