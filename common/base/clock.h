// Time as a dependency: everything that waits, expires or measures takes a Clock, so that tests can
// turn time by hand (tests/testing/fake_clock.h).
#pragma once

#include <chrono>

namespace pingti {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // Never goes back: for durations and deadlines.
  virtual std::chrono::steady_clock::time_point Now() const = 0;
  // The calendar: for timestamps people and other processes read, never for durations.
  virtual std::chrono::system_clock::time_point WallNow() const = 0;
};

// The machine's clock. Lives as long as the process; not owned by the caller.
Clock* RealClock();

}  // namespace pingti
