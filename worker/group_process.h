// A process that follows the leader of a tensor-parallel group: pingti-worker with a rank above 0.
// It serves no router; its admin port says whether it lives, and it is ready once it has memory for
// the model. Next: worker/group/follower.h.
#pragma once

#include "absl/status/status.h"
#include "common/base/signal_waiter.h"
#include "worker/server/worker_config.h"

namespace pingti::worker {

// Returns when the group ends: OK after a signal. Errors: those of RunFollower and of loading.
absl::Status FollowGroup(WorkerConfig config, SignalWaiter* signals);

}  // namespace pingti::worker
