// Published cache-aware rules, written anew from their documentation to be compared with. They see
// what the router's own policies see, so the rules are compared and not the sources of their facts.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "router/policy/choose_policy.h"
#include "router/policy/policy.h"

namespace pingti::bench {

// "llm_d": the sum of three scores in [0, 1], of which the greatest wins and equal ones are drawn:
// twice the cached prefix (least to most of those that have any), the free part of the KV cache,
// and the waiting queue (most to least). Weights of llm-d's guide "Precise prefix cache aware
// routing" (guides/precise-prefix-cache-aware, 2026).
//
// "sglang": while the loads are balanced, the worker with the longest match in a tree of what was
// sent there, if it matches more than half of the prompt, else the worker with the smallest tree;
// while they are not (the most is over the least by more than 32 and by more than 1.0001 times),
// the worker with the fewest sequences. Defaults of SGLang's router (docs/router/router.md, 2025).
// Its trees are not bounded here.
//
// "random": any.
//
// Any other name is one of router/policy/choose_policy.h, which takes `settings`. Errors: that
// header's.
absl::StatusOr<std::unique_ptr<router::Policy>> MakeAnyPolicy(
    std::string_view name, uint64_t seed, const router::PolicySettings& settings = {});

}  // namespace pingti::bench
