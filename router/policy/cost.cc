// See cost.h.
#include "router/policy/cost.h"

#include <algorithm>
#include <tuple>

namespace pingti::router {
namespace {

// Used until a worker reports a rate.
constexpr double kUnknownPrefillRate = 2000;  // tokens/s
constexpr double kUnknownStepMs = 20;
// A few hundred output tokens, each a per cent or so slower: as long as this much prefill.
constexpr uint64_t kTokensPerSequence = 128;
constexpr double kKvPenaltySeconds = 0.25;  // at a full cache

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

uint32_t Sequences(const WorkerLoad& load) {
  return load.running_sequences + load.waiting_sequences + load.sent_sequences;
}

double Cost(uint64_t own_tokens, const WorkerLoad& load, const Rates& rates) {
  const auto tokens = static_cast<double>(load.waiting_uncached_tokens + load.sent_tokens +
                                          own_tokens + kTokensPerSequence * Sequences(load));
  return tokens / rates.prefill_tokens_per_s +
         rates.step_s * Sequences(load) / std::max<uint32_t>(load.max_batch_size, 1) +
         kKvPenaltySeconds * load.kv_used_fraction * load.kv_used_fraction;
}

}  // namespace

size_t CheapestWorker::Pick(uint64_t prompt_tokens, std::span<const WorkerLoad> candidates) {
  const Rates rates = MeanRates(candidates);
  size_t best = 0;
  std::tuple<double, uint32_t, bool, uint64_t> best_rank;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const WorkerLoad& load = candidates[i];
    const std::tuple rank(Cost(tokens_to_compute_(prompt_tokens, load), load, rates),
                          Sequences(load), load.worker <= last_worker_, load.worker);
    if (i == 0 || rank < best_rank) {
      best = i;
      best_rank = rank;
    }
  }
  last_worker_ = candidates[best].worker;
  return best;
}

}  // namespace pingti::router
