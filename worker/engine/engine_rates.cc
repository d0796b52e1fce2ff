#include "worker/engine/engine_rates.h"

#include <chrono>

namespace pingti::worker {
namespace {

void Blend(double* mean, double value) { *mean += (value - *mean) * 0.1; }

}  // namespace

void EngineRates::Mean::Add(double step_seconds, double step_tokens) {
  if (step_tokens <= 0) return;
  Blend(&seconds, step_seconds);
  Blend(&tokens, step_tokens);
}

void EngineRates::Add(const StepStats& stats) {
  const double seconds = std::chrono::duration<double>(stats.duration).count();
  Blend(&step_s_, seconds);
  prefill_.Add(seconds, stats.num_tokens - stats.num_decode_tokens);
  decode_.Add(seconds, stats.num_decode_tokens - stats.num_drafts + stats.num_accepted_drafts);
}

}  // namespace pingti::worker
