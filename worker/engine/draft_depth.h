// How many drafts each sample gets, so that steps bring the most tokens per second.
//
// A draft at depth d stands with probability p^d, p being how often this sample's drafts stood so
// far. It costs what a step of one more token takes longer. Of several thresholds on that
// probability, the one is taken whose step brings the most expected tokens per expected time: so
// depth falls with acceptance and with load (Liu et al. 2024, "Optimizing Speculative Decoding for
// Serving Large Language Models Using Goodput"). Confined to the engine thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>

#include "worker/engine/step_times.h"

namespace pingti::worker {

// How often a sample's drafts stood, as a moving mean.
struct DraftAcceptance {
  double rate = -1.0;  // negative: nothing was tried yet
};

// A sample that may get drafts.
struct DraftDemand {
  DraftAcceptance* acceptance = nullptr;
  int32_t most = 0;   // that it may get
  int32_t depth = 0;  // that it gets: written by Plan
};

class DraftDepth {
 public:
  // One step in so many tries drafts although none seem to pay, so that a change is noticed.
  static constexpr int32_t kTryEvery = 128;

  // Of `num_proposed` drafts of a sample that were computed, the first `num_accepted` stood.
  void Learn(DraftAcceptance* acceptance, int32_t num_proposed, int32_t num_accepted);
  // A step that only decoded, proposing included.
  void Add(int32_t num_tokens, std::chrono::nanoseconds duration);

  // `num_decodes`: tokens of the step without drafts; `max_tokens`: with them.
  void Plan(int32_t num_decodes, int32_t max_tokens, std::span<DraftDemand> demands);

 private:
  double RateOf(const DraftAcceptance& acceptance) const;
  // Depths where a draft stands with at least this probability; the step's tokens and what it is
  // expected to bring.
  struct Outlook {
    int32_t tokens = 0;
    double drawn = 0.0;
  };
  Outlook SetDepths(double least, int32_t num_decodes, std::span<DraftDemand> demands) const;

  StepTimes times_;
  double mean_rate_ = 0.5;  // of all samples: what a new one begins with
  int32_t steps_without_ = 0;
};

}  // namespace pingti::worker
