// The worker that should give the first token soonest.
#pragma once

#include "router/policy/policy.h"

namespace pingti::router {

// Estimated time to first token from what the worker last reported plus what this router has sent
// since (join-the-shortest-queue with local accounting; Mitzenmacher, "How useful is old
// information?", 2000, shows why stale reports alone make a burst herd):
//
//   (waiting uncached tokens + sent tokens + prompt tokens) / prefill rate
//     + step time * (running + waiting + sent sequences) / max batch size
//     + a penalty that grows as the square of the KV cache's use
//
// Rate and step time are means over the candidates, so that counts decide between replicas.
//
// Equal costs go to the worker with the fewest sequences, then in turn.
class LeastLoadedPolicy final : public Policy {
 public:
  size_t Pick(uint64_t prompt_tokens, std::span<const WorkerLoad> candidates) override;

 private:
  uint64_t last_worker_ = 0;
};

}  // namespace pingti::router
