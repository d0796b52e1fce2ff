// The worker that has the longest beginning of the prompt cached, unless waiting for it costs more
// than computing that beginning again elsewhere.
#pragma once

#include "router/policy/cost.h"
#include "router/policy/policy.h"

namespace pingti::router {

// Cost: see cost.h, with what is cached taken off the prompt. So a prefix is worth exactly the time
// it saves: a worker that has it gets the sequence until its queue is longer than another's by that
// much, and one that has nothing gets its share as soon as others have more to do. No worker is
// ever left out for what it has not cached.
class PrefixAffinityPolicy final : public Policy {
 public:
  size_t Pick(uint64_t prompt_tokens, std::span<const WorkerLoad> candidates) override;

 private:
  // The last token is always computed: its logits are the answer's first.
  CheapestWorker cheapest_{[](uint64_t prompt_tokens, const WorkerLoad& load) -> uint64_t {
    return load.cached_prompt_tokens < prompt_tokens ? prompt_tokens - load.cached_prompt_tokens
                                                     : 1;
  }};
};

}  // namespace pingti::router
