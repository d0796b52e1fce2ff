// See least_loaded.h.
#include "router/policy/least_loaded.h"

#include <algorithm>
#include <tuple>

namespace pingti::router {
namespace {

// Used until a worker reports its own: the same for all, so only the counts then decide.
constexpr double kUnknownPrefillRate = 2000;  // tokens/s
constexpr double kUnknownStepMs = 20;
constexpr double kKvPenaltySeconds = 0.25;  // at a full cache

double Cost(uint64_t prompt_tokens, const WorkerLoad& load) {
  const double rate =
      load.prefill_tokens_per_s > 0 ? load.prefill_tokens_per_s : kUnknownPrefillRate;
  const double step_s = (load.step_ms > 0 ? load.step_ms : kUnknownStepMs) / 1000;
  const double tokens =
      static_cast<double>(load.waiting_uncached_tokens + load.sent_tokens + prompt_tokens);
  const double sequences = load.running_sequences + load.waiting_sequences + load.sent_sequences;
  return tokens / rate + step_s * sequences / std::max<uint32_t>(load.max_batch_size, 1) +
         kKvPenaltySeconds * load.kv_used_fraction * load.kv_used_fraction;
}

}  // namespace

size_t LeastLoadedPolicy::Pick(uint64_t prompt_tokens, std::span<const WorkerLoad> candidates) {
  size_t best = 0;
  std::tuple<double, uint32_t, bool, uint64_t> best_rank;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const WorkerLoad& load = candidates[i];
    const std::tuple rank(Cost(prompt_tokens, load),
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
