// The worker that has the longest beginning of the prompt cached, unless waiting for it costs more
// than computing that beginning again elsewhere.
#pragma once

#include "router/policy/cost.h"
#include "router/policy/policy.h"

namespace pingti::router {

// Weighs a cached prefix against load as Preble does (Srivatsa et al., "Preble: Efficient
// Distributed Prompt Scheduling for LLM Serving", 2024), in one estimate: cost.h, with what is
// cached taken off the prompt. So a prefix is worth exactly the time it saves: a worker that has it
// gets the sequence until its queue is longer than another's by that much, and one that has nothing
// gets its share as soon as others have more to do. No worker is ever left out for what it has not
// cached.
class PrefixAffinityPolicy final : public Policy {
 public:
  static constexpr std::string_view kName = "prefix_affinity";

  explicit PrefixAffinityPolicy(const CostSettings& settings) : settings_(settings) {}

  std::string_view name() const override { return kName; }
  size_t Pick(const PlacementRequest& request, std::span<const WorkerLoad> candidates) override;

 private:
  const CostSettings settings_;
  CheapestWorker cheapest_;
};

}  // namespace pingti::router
