// Requests with several samples (n or best_of > 1): the prompt is computed once and shared.
#pragma once

#include "worker/engine/request_group.h"
#include "worker/engine/scheduler.h"

namespace pingti::worker {

// Adds the other samples as copies of the first, whose prompt is computed but for its last token,
// and lets all of them draw. REQUIRES: not forked yet.
void ForkSamples(RequestGroup* group, Scheduler* scheduler);

}  // namespace pingti::worker
