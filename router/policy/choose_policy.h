// The table of policies, by name. For wiring alone: whoever uses a policy knows policy.h only.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "router/policy/cost.h"
#include "router/policy/policy.h"
#include "router/policy/prefix_affinity.h"
#include "router/policy/session_hash.h"

namespace pingti::router {

// The settings of all policies; each takes what it knows.
struct PolicySettings {
  CostSettings cost;  // all but round_robin
  PrefixAffinitySettings prefix_affinity;
  SessionHashSettings session_hash;
  std::optional<uint64_t> seed{};  // of draws; without one every policy made has another
};

// Errors: InvalidArgument naming the policies there are.
absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(std::string_view name,
                                                   const PolicySettings& settings = {});

}  // namespace pingti::router
