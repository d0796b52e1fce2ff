// Virtual time: what happens when, in order, with a clock that shows it to the code under test.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "tests/testing/fake_clock.h"

namespace pingti::bench {

// Thread-compatible. Events of one time run in the order in which they were added.
class EventQueue {
 public:
  using Event = std::function<void()>;

  // Seconds since the start.
  double now() const { return now_; }
  const Clock* clock() const { return &clock_; }

  // REQUIRES: `at` is not before now().
  void At(double at, Event event) { events_.push({at, next_++, std::move(event)}); }
  void After(double delay, Event event) { At(now_ + delay, std::move(event)); }

  // Until nothing is left to happen.
  void Run() {
    while (!events_.empty()) {
      // The queue gives no way to move out of its top, and the entry is gone right after.
      Entry entry = std::move(const_cast<Entry&>(events_.top()));
      events_.pop();
      const auto nanoseconds = std::chrono::nanoseconds(std::llround(entry.at * 1e9));
      clock_.Advance(nanoseconds - shown_);
      shown_ = nanoseconds;
      now_ = entry.at;
      entry.event();
    }
  }

 private:
  struct Entry {
    double at;
    uint64_t order;
    Event event;
    bool operator<(const Entry& other) const {  // the earliest on top
      return std::pair(other.at, other.order) < std::pair(at, order);
    }
  };

  testing::FakeClock clock_;
  std::chrono::nanoseconds shown_{0};
  double now_ = 0;
  uint64_t next_ = 0;
  std::priority_queue<Entry> events_;
};

}  // namespace pingti::bench
