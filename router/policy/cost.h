// Estimated time to first token on each candidate, and the cheapest of them: what the policies that
// look at load have in common.
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

// Thread-compatible. The estimate is what the worker last reported plus what this router has sent
// since (join-the-shortest-queue with local accounting; Mitzenmacher, "How useful is old
// information?", 2000, shows why stale reports alone make a burst herd):
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
// get nothing that could correct it. Equal costs go to the worker with the fewest sequences, then
// in turn.
class CheapestWorker {
 public:
  // Tokens of the prompt that a worker would have to compute.
  using TokensToCompute = uint64_t (*)(uint64_t prompt_tokens, const WorkerLoad& load);

  CheapestWorker(CostSettings settings, TokensToCompute tokens_to_compute)
      : settings_(settings), tokens_to_compute_(tokens_to_compute) {}

  // Index into `candidates`. REQUIRES: it is not empty.
  size_t Pick(uint64_t prompt_tokens, std::span<const WorkerLoad> candidates);

 private:
  struct Rates {
    double prefill_tokens_per_s = 0;
    double step_s = 0;
  };
  Rates MeanRates(std::span<const WorkerLoad> candidates) const;
  // Seconds.
  double Cost(uint64_t own_tokens, const WorkerLoad& load, const Rates& rates) const;

  const CostSettings settings_;
  const TokensToCompute tokens_to_compute_;
  uint64_t last_worker_ = 0;
};

}  // namespace pingti::router
