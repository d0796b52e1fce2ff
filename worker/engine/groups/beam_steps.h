// Beam search in the engine: beams wait for each other after every token, then continue as
// BeamSearch (worker/sampling/beam_search.h) says. Blocks of the tokens that beams have in common
// are shared. Each beam has its own counts for penalties and its own place in the grammar.
//
// Confined to the engine thread.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "common/grammar/vocabulary.h"
#include "worker/engine/engine_stats.h"
#include "worker/engine/request_finisher.h"
#include "worker/engine/request_group.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/session_outputs.h"

namespace pingti::worker {

class BeamSteps {
 public:
  // All are borrowed. `vocabulary`: null, if no request has texts that end beams.
  BeamSteps(Scheduler* scheduler, SessionOutputs* outputs, RequestFinisher* finisher,
            StepStats* stats, const grammar::Vocabulary* vocabulary)
      : scheduler_(scheduler),
        outputs_(outputs),
        finisher_(finisher),
        stats_(stats),
        vocabulary_(vocabulary) {}

  // Keeps the tokens that one beam may go on with until AdvanceAll.
  void TakeCandidates(RequestGroup* group, Sample* beam, SampledToken* token);
  // Goes on with every request whose beams all have their candidates. Replaces their sequences: no
  // chunk of the step may be looked at afterwards.
  void AdvanceAll();
  // Ends a search for what befell one of its beams.
  void Fail(RequestGroup* group, const absl::Status& status);

 private:
  BeamEnd EndOf(const RequestGroup& group, const Sample& beam, int32_t token) const;
  // What the token adds to a text.
  std::string_view TextOf(int32_t token) const;
  void Advance(RequestGroup* group);
  // Makes the beams that go on the request's samples.
  absl::Status Rearrange(RequestGroup* group);
  // Makes `child` what follows `parent` with the token of `beam`, but for its sequence's content.
  // `is_last`: of the parent's children, so that what the parent has is not copied.
  absl::Status Inherit(const BeamSearch::Beam& beam, bool is_last, Sample* parent, Sample* child);
  void SendFinished(RequestGroup* group);
  void SendAnswer(RequestGroup* group, const FinishedBeam& beam, int32_t index);

  Scheduler* const scheduler_;
  SessionOutputs* const outputs_;
  RequestFinisher* const finisher_;
  StepStats* const stats_;
  const grammar::Vocabulary* const vocabulary_;
  std::vector<RequestGroup*> groups_;  // got candidates in this step
};

}  // namespace pingti::worker
