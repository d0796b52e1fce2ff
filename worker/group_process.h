// A process that follows the leader of a tensor-parallel group: pingti-worker with a rank above 0.
// It serves no router. Next: worker/group/follower.h.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "common/base/signal_waiter.h"
#include "worker/loaded_model.h"
#include "worker/server/worker_config.h"

namespace pingti::worker {

// `loaded` has been opened, not loaded. `on_ready` is called once this process has its share of the
// model and knows that it has memory for it. Returns when the group ends: OK after a signal.
// Errors: those of RunFollower and of loading.
absl::Status FollowGroup(const WorkerConfig& config, LoadedModel* loaded,
                         const std::function<void()>& on_ready, SignalWaiter* signals);

}  // namespace pingti::worker
