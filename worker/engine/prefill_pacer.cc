#include "worker/engine/prefill_pacer.h"

#include <algorithm>
#include <limits>

namespace pingti::worker {
namespace {

// Fast enough to follow a prompt whose later tokens see more keys.
constexpr double kWeight = 0.25;

}  // namespace

void PrefillPacer::Add(const StepStats& stats) {
  const Seconds duration = stats.duration;
  const int32_t prefill_tokens = stats.num_tokens - stats.num_decode_tokens;
  if (prefill_tokens == 0) {
    decode_step_ += (duration - decode_step_) * (decode_step_ == Seconds(0) ? 1.0 : kWeight);
    return;
  }
  // Both are means of their own, so that steps count by their tokens.
  const Seconds added = std::max(duration - decode_step_, Seconds(0));
  prefill_time_ += (added - prefill_time_) * kWeight;
  prefill_tokens_ += (prefill_tokens - prefill_tokens_) * kWeight;
}

int32_t PrefillPacer::max_prefill_tokens() const {
  constexpr int32_t kNoLimit = std::numeric_limits<int32_t>::max();
  if (max_step_s_ == Seconds(0) || prefill_time_ == Seconds(0)) return kNoLimit;
  const double tokens = (max_step_s_ - decode_step_) / prefill_time_ * prefill_tokens_;
  return static_cast<int32_t>(std::clamp<double>(tokens, kFewestTokens, kNoLimit));
}

}  // namespace pingti::worker
