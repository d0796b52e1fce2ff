// Gives running samples drafts before a step, and learns from the step how many are worth it.
//
// Confined to the engine thread. Read next: draft_source.h, draft_depth.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/clock.h"
#include "worker/engine/draft_depth.h"
#include "worker/engine/draft_source.h"
#include "worker/engine/engine_stats.h"
#include "worker/engine/request_group.h"
#include "worker/engine/scheduler.h"
#include "worker/model/model.h"

namespace pingti::worker {

class Speculator {
 public:
  // `source` is borrowed; null: there are no drafts. `most`: drafts per sample and step.
  Speculator(DraftSource* source, int32_t most, const Clock* clock)
      : source_(source), most_(most), clock_(clock) {}

  // Appends drafts to sequences that decode.
  void Propose(std::span<Sequence* const> running, const StepBudget& budget, StepStats* stats);
  // After a step of such a plan, once its tokens were taken.
  void AfterStep(const StepPlan& plan, const ForwardBatch& batch, StepStats* stats);
  // `num_checked` drafts of a sample were computed in a step, of which `num_accepted` stood.
  void Learn(Sample* sample, int32_t num_checked, int32_t num_accepted, StepStats* stats);
  // At the end of a step.
  void Add(const StepStats& stats);

 private:
  // Whose turn it is, with what each may get at most; how many sequences decode.
  int32_t Collect(std::span<Sequence* const> running);

  DraftSource* const source_;
  const int32_t most_;
  const Clock* const clock_;
  DraftDepth depth_;
  std::vector<Sample*> samples_;  // one for each demand
  std::vector<DraftDemand> demands_;
  std::vector<DraftAsk> asks_;  // reused for their memory
  std::vector<ComputedTokens> computed_;
  int64_t num_read_ = 0;  // by the source, as of the last step
};

}  // namespace pingti::worker
