// A circuit breaker for one worker: after several failures in a row the worker is left out for a
// while, then one sequence may try it. It never latches: every open state ends by itself.
#pragma once

#include <chrono>

namespace pingti::router {

struct BreakerOptions {
  int failures_to_open = 5;
  std::chrono::milliseconds open_for{5'000};
};

// Thread-compatible. Only a worker's own faults are recorded; a request it refused as malformed
// says nothing about the worker.
class Breaker {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit Breaker(BreakerOptions options) : options_(options) {}

  // Whether a sequence may be sent. In the half-open state, true until the probe is on its way.
  bool Allows(TimePoint now) const {
    if (failures_ < options_.failures_to_open) return true;
    return now >= open_until_ && !probing_;
  }
  void OnSent(TimePoint now) {
    if (failures_ >= options_.failures_to_open && now >= open_until_) probing_ = true;
  }
  void OnSuccess() {
    failures_ = 0;
    probing_ = false;
  }
  void OnFailure(TimePoint now) {
    probing_ = false;
    if (++failures_ >= options_.failures_to_open) open_until_ = now + options_.open_for;
  }
  // The probe ended without telling anything (cancelled, refused as malformed): try another.
  void OnNeutral() { probing_ = false; }

 private:
  BreakerOptions options_;
  int failures_ = 0;
  bool probing_ = false;
  TimePoint open_until_{};
};

}  // namespace pingti::router
