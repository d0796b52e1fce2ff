// See choose_policy.h.
#include "router/policy/choose_policy.h"

#include <string>

#include "common/base/strings.h"
#include "router/policy/least_loaded.h"
#include "router/policy/prefix_affinity.h"
#include "router/policy/round_robin.h"

namespace pingti::router {
namespace {

struct Entry {
  std::string_view name;
  std::unique_ptr<Policy> (*make)(const PolicySettings& settings);
};

constexpr Entry kPolicies[] = {
    {PrefixAffinityPolicy::kName,
     [](const PolicySettings& settings) -> std::unique_ptr<Policy> {
       return std::make_unique<PrefixAffinityPolicy>(settings.cost);
     }},
    {LeastLoadedPolicy::kName,
     [](const PolicySettings& settings) -> std::unique_ptr<Policy> {
       return std::make_unique<LeastLoadedPolicy>(settings.cost);
     }},
    {RoundRobinPolicy::kName,
     [](const PolicySettings&) -> std::unique_ptr<Policy> {
       return std::make_unique<RoundRobinPolicy>();
     }},
};

}  // namespace

absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(std::string_view name,
                                                   const PolicySettings& settings) {
  std::string known;
  for (const Entry& entry : kPolicies) {
    if (entry.name == name) return entry.make(settings);
    known += Concat(known.empty() ? "" : ", ", entry.name);
  }
  return absl::InvalidArgumentError(Concat("policy '", name, "': expected one of ", known));
}

}  // namespace pingti::router
