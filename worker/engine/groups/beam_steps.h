// Beam search in the engine: beams wait for each other after every token, then continue as
// BeamSearch (worker/sampling/beam_search.h) says. All beams of a request share what they have in
// common.
//
// Confined to the engine thread.
#pragma once

#include <vector>

#include "worker/engine/engine_stats.h"
#include "worker/engine/request_finisher.h"
#include "worker/engine/request_group.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/session_outputs.h"

namespace pingti::worker {

class BeamSteps {
 public:
  // All are borrowed.
  BeamSteps(Scheduler* scheduler, SessionOutputs* outputs, RequestFinisher* finisher,
            StepStats* stats)
      : scheduler_(scheduler), outputs_(outputs), finisher_(finisher), stats_(stats) {}

  // Keeps the most likely tokens after one beam until AdvanceAll.
  void TakeCandidates(RequestGroup* group, Sample* beam, SampledToken* token);
  // Goes on with every request whose beams all have their candidates. Replaces their sequences: no
  // chunk of the step may be looked at afterwards.
  void AdvanceAll();

 private:
  void Advance(RequestGroup* group);
  void Rearrange(RequestGroup* group);
  void SendFinished(RequestGroup* group);

  Scheduler* const scheduler_;
  SessionOutputs* const outputs_;
  RequestFinisher* const finisher_;
  StepStats* const stats_;
  std::vector<RequestGroup*> groups_;  // got candidates in this step
};

}  // namespace pingti::worker
