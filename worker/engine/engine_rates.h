// How fast the engine's recent steps were: exponential means, for load reports.
//
// Confined to the engine thread.
#pragma once

#include "worker/engine/engine_stats.h"

namespace pingti::worker {

class EngineRates {
 public:
  // Counts a step that computed something.
  void Add(const StepStats& stats);

  // Tokens per second of whole steps that had such tokens; 0 before the first one.
  double prefill_tokens_per_s() const { return prefill_.rate(); }
  double decode_tokens_per_s() const { return decode_.rate(); }
  double step_ms() const { return step_s_ * 1e3; }

 private:
  struct Mean {
    double seconds = 0.0;
    double tokens = 0.0;

    void Add(double step_seconds, double step_tokens);
    double rate() const { return seconds > 0 ? tokens / seconds : 0.0; }
  };

  double step_s_ = 0.0;
  Mean prefill_;
  Mean decode_;
};

}  // namespace pingti::worker
