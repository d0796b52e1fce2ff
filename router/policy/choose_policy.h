// The table of policies, by name. For wiring alone: whoever uses a policy knows policy.h only.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "router/policy/cost.h"
#include "router/policy/policy.h"

namespace pingti::router {

// The settings of all policies; each takes what it knows.
struct PolicySettings {
  CostSettings cost;  // prefix_affinity and least_loaded
};

// Errors: InvalidArgument naming the policies there are.
absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(std::string_view name,
                                                   const PolicySettings& settings = {});

}  // namespace pingti::router
