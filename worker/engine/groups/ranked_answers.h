// Requests that draw more samples than they return (best_of > n): answers wait until all samples
// have ended, and the best ones are sent.
#pragma once

#include <vector>

#include "worker/engine/engine_stats.h"
#include "worker/engine/request_group.h"
#include "worker/engine/session_outputs.h"

namespace pingti::worker {

// A request's samples by their mean log-probability, highest first; those that failed come last.
// REQUIRES: all have ended.
std::vector<Sample*> RankSamples(const RequestGroup& group);

// Sends the n best answers whole.
void SendRankedAnswers(RequestGroup* group, SessionOutputs* outputs, StepStats* stats);

}  // namespace pingti::worker
