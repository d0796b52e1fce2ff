// See choose_policy.h.
#include "router/policy/choose_policy.h"

#include <array>
#include <bit>
#include <string>

#include "common/base/random_id.h"
#include "common/base/strings.h"
#include "router/policy/least_loaded.h"
#include "router/policy/power_of_two.h"
#include "router/policy/prefix_affinity.h"
#include "router/policy/round_robin.h"

namespace pingti::router {
namespace {

uint64_t DrawSeed() {
  std::array<uint8_t, sizeof(uint64_t)> bytes;
  OsEntropy()->Fill(bytes);
  return std::bit_cast<uint64_t>(bytes);
}

struct Entry {
  std::string_view name;
  std::unique_ptr<Policy> (*make)(const PolicySettings& settings);
};

constexpr Entry kPolicies[] = {
    {PrefixAffinityPolicy::kName,
     [](const PolicySettings& settings) -> std::unique_ptr<Policy> {
       return std::make_unique<PrefixAffinityPolicy>(settings.prefix_affinity, settings.cost);
     }},
    {LeastLoadedPolicy::kName,
     [](const PolicySettings& settings) -> std::unique_ptr<Policy> {
       return std::make_unique<LeastLoadedPolicy>(settings.cost);
     }},
    {PowerOfTwoPolicy::kName,
     [](const PolicySettings& settings) -> std::unique_ptr<Policy> {
       return std::make_unique<PowerOfTwoPolicy>(settings.cost, settings.seed.value_or(DrawSeed()));
     }},
    {SessionHashPolicy::kName,
     [](const PolicySettings& settings) -> std::unique_ptr<Policy> {
       return std::make_unique<SessionHashPolicy>(settings.session_hash, settings.cost);
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
