// See least_loaded.h.
#include "router/policy/least_loaded.h"

#include <algorithm>
#include <tuple>

namespace pingti::router {
namespace {

// Used until a worker reports a rate.
constexpr double kUnknownPrefillRate = 2000;  // tokens/s
constexpr double kUnknownStepMs = 20;
constexpr double kKvPenaltySeconds = 0.25;  // at a full cache

// What the candidates measured, averaged: a rate measured under one batch says little of the next,
// and a worker judged by its own bad one would get nothing that could correct it.
struct Rates {
  double prefill_tokens_per_s = 0;
  double step_s = 0;
};

Rates MeanRates(std::span<const WorkerLoad> candidates) {
  Rates sum;
  int num_prefill = 0;
  int num_step = 0;
  for (const WorkerLoad& load : candidates) {
    if (load.prefill_tokens_per_s > 0) {
      sum.prefill_tokens_per_s += load.prefill_tokens_per_s;
      ++num_prefill;
    }
    if (load.step_ms > 0) {
      sum.step_s += load.step_ms / 1000;
      ++num_step;
    }
  }
  return {num_prefill > 0 ? sum.prefill_tokens_per_s / num_prefill : kUnknownPrefillRate,
          num_step > 0 ? sum.step_s / num_step : kUnknownStepMs / 1000};
}

double Cost(uint64_t prompt_tokens, const WorkerLoad& load, const Rates& rates) {
  const double tokens =
      static_cast<double>(load.waiting_uncached_tokens + load.sent_tokens + prompt_tokens);
  const double sequences = load.running_sequences + load.waiting_sequences + load.sent_sequences;
  return tokens / rates.prefill_tokens_per_s +
         rates.step_s * sequences / std::max<uint32_t>(load.max_batch_size, 1) +
         kKvPenaltySeconds * load.kv_used_fraction * load.kv_used_fraction;
}

}  // namespace

size_t LeastLoadedPolicy::Pick(uint64_t prompt_tokens, std::span<const WorkerLoad> candidates) {
  const Rates rates = MeanRates(candidates);
  size_t best = 0;
  std::tuple<double, uint32_t, bool, uint64_t> best_rank;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const WorkerLoad& load = candidates[i];
    const std::tuple rank(Cost(prompt_tokens, load, rates),
                          load.running_sequences + load.waiting_sequences + load.sent_sequences,
                          load.worker <= last_worker_, load.worker);
    if (i == 0 || rank < best_rank) {
      best = i;
      best_rank = rank;
    }
  }
  last_worker_ = candidates[best].worker;
  return best;
}

}  // namespace pingti::router
