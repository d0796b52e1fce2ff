// See cost.h.
#include "router/policy/cost.h"

#include <algorithm>
#include <tuple>

namespace pingti::router {

CostEstimate::CostEstimate(const CostSettings& settings, std::span<const WorkerLoad> candidates)
    : settings_(settings),
      prefill_tokens_per_s_(settings.unknown_prefill_tokens_per_s),
      step_s_(std::chrono::duration<double>(settings.unknown_step).count()) {
  double rates = 0;
  double steps_ms = 0;
  int num_rates = 0;
  int num_steps = 0;
  for (const WorkerLoad& load : candidates) {
    if (load.prefill_tokens_per_s > 0) {
      rates += load.prefill_tokens_per_s;
      ++num_rates;
    }
    if (load.step_ms > 0) {
      steps_ms += load.step_ms;
      ++num_steps;
    }
  }
  if (num_rates > 0) prefill_tokens_per_s_ = rates / num_rates;
  if (num_steps > 0) step_s_ = steps_ms / 1000 / num_steps;
}

double CostEstimate::Seconds(double own_tokens, const WorkerLoad& load) const {
  const uint32_t sequences = load.sequences();
  const double tokens =
      own_tokens + static_cast<double>(load.waiting_uncached_tokens + load.sent_tokens +
                                       uint64_t{settings_.tokens_per_sequence} * sequences);
  return PrefillSeconds(tokens) + step_s_ * sequences / std::max<uint32_t>(load.max_batch_size, 1) +
         std::chrono::duration<double>(settings_.full_cache).count() * load.kv_used_fraction *
             load.kv_used_fraction;
}

bool CheapestWorker::Before(const WorkerLoad& a, const WorkerLoad& b) const {
  const auto rank = [&](const WorkerLoad& load) {
    return std::tuple(load.other_zone, load.sequences(), load.worker <= last_worker_, load.worker);
  };
  return rank(a) < rank(b);
}

}  // namespace pingti::router
