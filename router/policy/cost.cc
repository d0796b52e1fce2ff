// See cost.h.
#include "router/policy/cost.h"

#include <algorithm>
#include <tuple>

namespace pingti::router {
CheapestWorker::Rates CheapestWorker::MeanRates(std::span<const WorkerLoad> candidates) const {
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
  return {num_prefill > 0 ? sum.prefill_tokens_per_s / num_prefill
                          : settings_.unknown_prefill_tokens_per_s,
          num_step > 0 ? sum.step_s / num_step
                       : std::chrono::duration<double>(settings_.unknown_step).count()};
}

double CheapestWorker::Cost(uint64_t own_tokens, const WorkerLoad& load, const Rates& rates) const {
  const uint32_t sequences = load.sequences();
  const auto tokens =
      static_cast<double>(load.waiting_uncached_tokens + load.sent_tokens + own_tokens +
                          uint64_t{settings_.tokens_per_sequence} * sequences);
  return tokens / rates.prefill_tokens_per_s +
         rates.step_s * sequences / std::max<uint32_t>(load.max_batch_size, 1) +
         std::chrono::duration<double>(settings_.full_cache).count() * load.kv_used_fraction *
             load.kv_used_fraction;
}

size_t CheapestWorker::Pick(uint64_t prompt_tokens, std::span<const WorkerLoad> candidates) {
  const Rates rates = MeanRates(candidates);
  size_t best = 0;
  std::tuple<double, uint32_t, bool, uint64_t> best_rank;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const WorkerLoad& load = candidates[i];
    const std::tuple rank(Cost(tokens_to_compute_(prompt_tokens, load), load, rates),
                          load.sequences(), load.worker <= last_worker_, load.worker);
    if (i == 0 || rank < best_rank) {
      best = i;
      best_rank = rank;
    }
  }
  last_worker_ = candidates[best].worker;
  return best;
}

}  // namespace pingti::router
