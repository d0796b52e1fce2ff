// Brings a client's leaving and the generation that it ends together, whichever comes first. Both
// transports have one per request.
#pragma once

#include <memory>

#include "common/base/mutex.h"
#include "router/pipeline/generation.h"

namespace pingti::router {

// Thread-safe. Shared by the connection, which tells of the client, and whoever works for it.
class ClientWatch {
 public:
  void OnGone() {
    std::shared_ptr<Generation> generation;
    {
      MutexLock lock(&mutex_);
      gone_ = true;
      generation = generation_.lock();
    }
    if (generation != nullptr) Cancel(generation.get());
  }
  void OnStarted(const std::shared_ptr<Generation>& generation) {
    {
      MutexLock lock(&mutex_);
      generation_ = generation;
      if (!gone_) return;
    }
    Cancel(generation.get());
  }
  // Nobody waits for the answer any more: work that has not begun need not begin.
  bool gone() const {
    MutexLock lock(&mutex_);
    return gone_;
  }

 private:
  static void Cancel(Generation* generation) {
    generation->Cancel(absl::CancelledError("the client is gone"));
  }

  mutable Mutex mutex_;
  bool gone_ PINGTI_GUARDED_BY(mutex_) = false;
  // Weak: the generation owns the way to the client, which owns this.
  std::weak_ptr<Generation> generation_ PINGTI_GUARDED_BY(mutex_);
};

}  // namespace pingti::router
