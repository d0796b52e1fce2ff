// The table of policies.
#include "router/policy/policy.h"

#include "common/base/strings.h"
#include "router/policy/least_loaded.h"
#include "router/policy/prefix_affinity.h"
#include "router/policy/round_robin.h"

namespace pingti::router {

absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(std::string_view name) {
  if (name == "prefix_affinity") return std::make_unique<PrefixAffinityPolicy>();
  if (name == "least_loaded") return std::make_unique<LeastLoadedPolicy>();
  if (name == "round_robin") return std::make_unique<RoundRobinPolicy>();
  return absl::InvalidArgumentError(
      Concat("policy '", name, "': expected prefix_affinity, least_loaded or round_robin"));
}

}  // namespace pingti::router
