// How many prompt tokens a step may compute while answers run, so that they pause for a bounded
// time: learned from the steps so far.
//
// Confined to the engine thread.
#pragma once

#include <chrono>
#include <cstdint>

#include "worker/engine/engine_stats.h"

namespace pingti::worker {

class PrefillPacer {
 public:
  // However slow the device, so that prompts move: a product reads its weights once for these many
  // rows as for one.
  static constexpr int32_t kFewestTokens = 64;

  // `max_step_time`: what a step with decodes may take; 0: as long as it likes.
  explicit PrefillPacer(std::chrono::milliseconds max_step_time) : max_step_s_(max_step_time) {}

  // Learns from a step that computed something.
  void Add(const StepStats& stats);

  // For the next step; without a limit until a step with a prefill has been seen.
  int32_t max_prefill_tokens() const;

 private:
  using Seconds = std::chrono::duration<double>;

  const Seconds max_step_s_;
  // Exponential means: of a step without a prefill, and of what prefills add to that.
  Seconds decode_step_{0};
  Seconds prefill_time_{0};
  double prefill_tokens_ = 0.0;
};

}  // namespace pingti::worker
