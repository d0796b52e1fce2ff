// Ends requests: takes their sequences out of the scheduler and says so to the client.
//
// Requests that are done stay in memory until the step's end (retired()), since a step's plan
// points at them. Confined to the engine thread.
#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/engine_stats.h"
#include "worker/engine/request_group.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/session_outputs.h"

namespace pingti::worker {

class RequestFinisher {
 public:
  // All are borrowed; endings are counted in `stats`.
  RequestFinisher(Scheduler* scheduler, SessionOutputs* outputs, StepStats* stats)
      : scheduler_(scheduler), outputs_(outputs), stats_(stats) {}

  // Ends a request by its only sample. Usage and the cumulative log-probability of `finish` are
  // filled in. REQUIRES: no beams.
  void FinishSample(RequestGroup* group, Sample* sample, Finish finish);
  // Ends whatever of a request still runs, each answer for the same reason. Idempotent.
  void FinishRequest(RequestGroup* group, FinishReason reason, const absl::Status& status);
  // Marks a request done whose answers were all sent.
  void Retire(RequestGroup* group);

  std::span<RequestGroup* const> retired() const { return retired_; }
  void ClearRetired() { retired_.clear(); }
  // Requests of a session that is gone are not retired any more.
  void Forget(SessionId session);

 private:
  Scheduler* const scheduler_;
  SessionOutputs* const outputs_;
  StepStats* const stats_;
  std::vector<RequestGroup*> retired_;
};

}  // namespace pingti::worker
