// A limit of so many a minute, as a bucket that fills evenly.
#pragma once

#include <chrono>
#include <cstdint>

namespace pingti::router {

// A token bucket (Turner, "New directions in communications (or which way to the information
// age?)", 1986): it holds what may be used in a minute, is full at first, and fills evenly in a
// minute. It may go below empty, when more was used than was known before: what comes next waits
// until that is paid back, so the mean rate is exact. Thread-compatible.
class MinuteBucket {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // REQUIRES: limit > 0.
  MinuteBucket(uint64_t limit, TimePoint now)
      : limit_(static_cast<double>(limit)), level_(limit_), filled_at_(now) {}

  // What was used of the old limit counts as used of the new one.
  void SetLimit(uint64_t limit, TimePoint now);

  // How long until `amount` can be taken; zero: now. More than the bucket holds can be taken when
  // it is full.
  std::chrono::duration<double> WaitFor(double amount, TimePoint now) const;
  // Takes `amount`, or gives back where it is negative.
  void Take(double amount, TimePoint now);

  double limit() const { return limit_; }
  double Level(TimePoint now) const;

 private:
  double limit_;
  double level_;  // when it was last filled
  TimePoint filled_at_;
};

}  // namespace pingti::router
