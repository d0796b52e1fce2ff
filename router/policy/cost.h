// Estimated time to first token on each candidate: what the policies that look at load have in
// common.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>

#include "router/policy/policy.h"

namespace pingti::router {

// The weights of the estimate.
struct CostSettings {
  // Taken for every worker until one has reported what it measures.
  double unknown_prefill_tokens_per_s = 2000;
  std::chrono::milliseconds unknown_step{20};
  // What one sequence at a worker costs a newcomer, in tokens to prefill: a few hundred output
  // tokens, each a per cent or so slower, take as long as this much prefill.
  uint32_t tokens_per_sequence = 128;
  // Added at a full KV cache, where a newcomer would push others out.
  std::chrono::milliseconds full_cache{250};
};

// What a worker is expected to need for a first token, from what it last reported plus what this
// router has sent since (join-the-shortest-queue with local accounting; Mitzenmacher, "How useful
// is old information?", 2000, shows why stale reports alone make a burst herd):
//
//   (waiting uncached tokens + sent tokens + the prompt's own tokens to compute
//      + tokens_per_sequence * sequences) / prefill rate
//     + step time * sequences / max batch size
//     + a penalty that grows as the square of the KV cache's use
//
// Sequences are those running, waiting and sent. Each slows every step of a newcomer's answer, not
// only its first: without its price in tokens, a system prompt that all requests share would gather
// them at the one worker that saw it first.
// Rate and step time are means over the candidates, so that counts decide between replicas: a rate
// measured under one batch says little of the next, and a worker judged by its own bad one would
// get nothing that could correct it.
class CostEstimate {
 public:
  // The means are taken over `candidates`.
  CostEstimate(const CostSettings& settings, std::span<const WorkerLoad> candidates);

  // Seconds, when the worker would have `own_tokens` of the prompt to compute.
  double Seconds(double own_tokens, const WorkerLoad& load) const;
  // For so many tokens alone.
  double PrefillSeconds(double tokens) const { return tokens / prefill_tokens_per_s_; }

 private:
  const CostSettings& settings_;
  double prefill_tokens_per_s_;
  double step_s_;
};

// Of workers by their costs the cheapest. Equal costs go to a worker of the router's own zone, then
// to the one with the fewest sequences, then in turn. Thread-compatible.
class CheapestWorker {
 public:
  // Offers every candidate to `cost_of(load)`; index of the cheapest. REQUIRES: it is not empty.
  template <typename CostOf>
  size_t Pick(std::span<const WorkerLoad> candidates, CostOf cost_of) {
    size_t best = 0;
    double best_cost = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const double cost = cost_of(candidates[i]);
      if (i == 0 || cost < best_cost ||
          (cost == best_cost && Before(candidates[i], candidates[best]))) {
        best = i;
        best_cost = cost;
      }
    }
    last_worker_ = candidates[best].worker;
    return best;
  }

 private:
  bool Before(const WorkerLoad& a, const WorkerLoad& b) const;

  uint64_t last_worker_ = 0;
};

}  // namespace pingti::router
