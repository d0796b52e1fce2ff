// A clock that tests turn by hand; both its times advance together.
#pragma once

#include <chrono>

#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace pingti::testing {

// Thread-safe. Starts at an arbitrary steady time and 2026-01-01T00:00:00Z.
class FakeClock final : public Clock {
 public:
  std::chrono::steady_clock::time_point Now() const override {
    MutexLock lock(&mutex_);
    return std::chrono::steady_clock::time_point(std::chrono::hours(1)) + elapsed_;
  }
  std::chrono::system_clock::time_point WallNow() const override {
    MutexLock lock(&mutex_);
    return std::chrono::system_clock::time_point(std::chrono::seconds(1'767'225'600)) +
           std::chrono::duration_cast<std::chrono::system_clock::duration>(elapsed_);
  }

  void Advance(std::chrono::nanoseconds by) {
    MutexLock lock(&mutex_);
    elapsed_ += by;
  }

 private:
  mutable Mutex mutex_;
  std::chrono::nanoseconds elapsed_ PINGTI_GUARDED_BY(mutex_){0};
};

}  // namespace pingti::testing
