// Makes one object's events serial without a thread of its own and without holding a lock while
// they are handled: whoever finds nobody inside handles its own event and then what arrived
// meanwhile.
#pragma once

#include <utility>
#include <vector>

#include "common/base/mutex.h"

namespace pingti::router {

// Thread-safe. `Handle` may deliver again, also from inside: the event then waits its turn.
template <typename Event>
class Mailbox {
 public:
  template <typename Handle>
  void Deliver(Event&& event, const Handle& handle) {
    {
      MutexLock lock(&mutex_);
      if (busy_) {
        waiting_.push_back(std::move(event));
        return;
      }
      busy_ = true;
    }
    handle(std::move(event));
    std::vector<Event> batch;
    while (TakeWaiting(&batch)) {
      for (Event& next : batch) handle(std::move(next));
      batch.clear();
    }
  }

 private:
  // False: nothing is left, the next Deliver starts again.
  bool TakeWaiting(std::vector<Event>* batch) {
    MutexLock lock(&mutex_);
    if (waiting_.empty()) {
      busy_ = false;
      return false;
    }
    std::swap(*batch, waiting_);
    return true;
  }

  Mutex mutex_;
  bool busy_ PINGTI_GUARDED_BY(mutex_) = false;
  std::vector<Event> waiting_ PINGTI_GUARDED_BY(mutex_);
};

}  // namespace pingti::router
