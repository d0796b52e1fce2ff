// One line in the log for every request that was answered, and one for every sequence that had to
// go on elsewhere.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "router/observer/request_observer.h"

namespace pingti::router {

// Lets through so many a second, and counts the rest. Thread-safe, without a lock.
class RateLimit {
 public:
  explicit RateLimit(int64_t per_second) : per_second_(per_second) {}
  // False: too many in this second.
  bool Take(TimePoint now);
  // Those that were not let through since the last call.
  int64_t TakeSkipped() { return skipped_.exchange(0, std::memory_order_relaxed); }

 private:
  const int64_t per_second_;
  std::atomic<int64_t> second_{INT64_MIN};
  std::atomic<int64_t> taken_{0};
  std::atomic<int64_t> skipped_{0};
};

// Thread-safe.
class AccessLog final : public RequestWatcher {
 public:
  std::unique_ptr<RequestObserver> OnReceived(const RequestInfo& request) override;

 private:
  // Of requests with a wrong key, which cost whoever guesses nothing.
  RateLimit unauthenticated_{10};
};

}  // namespace pingti::router
