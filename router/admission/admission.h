// Who gets in: bounded queues in requests and tokens, bounded concurrency per API key. What does
// not fit is refused at once with a hint when to come back, never left to time out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace pingti::router {

struct AdmissionOptions {
  // Admitted requests that have no first token yet.
  size_t max_queued_requests = 4096;
  uint64_t max_queued_tokens = 8u << 20;
  // Admitted and not finished. 0: no limit.
  size_t max_concurrent_requests = 16384;
  size_t max_concurrent_per_key = 0;
};

// Thread-safe.
class AdmissionController {
 public:
  // One request's place. Gives everything back when destroyed. Thread-compatible.
  class Ticket {
   public:
    ~Ticket();
    // The request has its first token: it leaves the queue's count.
    void MarkStarted();

   private:
    friend class AdmissionController;
    Ticket(AdmissionController* controller, std::string tenant, uint64_t tokens)
        : controller_(controller), tenant_(std::move(tenant)), tokens_(tokens) {}
    AdmissionController* const controller_;
    const std::string tenant_;
    const uint64_t tokens_;
    bool started_ = false;
  };

  AdmissionController(AdmissionOptions options, const Clock* clock)
      : options_(options), clock_(clock) {}

  // `tokens`: what the request has to prefill, all its prompts together.
  // Errors: ResourceExhausted naming the limit that is reached, with Retry-After.
  absl::StatusOr<std::unique_ptr<Ticket>> Admit(const std::string& tenant, uint64_t tokens);

  size_t queued_requests() const;
  uint64_t queued_tokens() const;
  size_t concurrent_requests() const;

 private:
  void Start(uint64_t tokens) PINGTI_REQUIRES(mutex_);
  int RetryAfterSeconds() PINGTI_REQUIRES(mutex_);

  const AdmissionOptions options_;
  const Clock* const clock_;
  mutable Mutex mutex_;
  size_t queued_requests_ PINGTI_GUARDED_BY(mutex_) = 0;
  uint64_t queued_tokens_ PINGTI_GUARDED_BY(mutex_) = 0;
  size_t concurrent_requests_ PINGTI_GUARDED_BY(mutex_) = 0;
  std::map<std::string, size_t> per_key_ PINGTI_GUARDED_BY(mutex_);
  // Requests started per second, an exponential mean over about 10 s: what Retry-After is made of.
  double start_rate_ PINGTI_GUARDED_BY(mutex_) = 0;
  std::chrono::steady_clock::time_point last_start_ PINGTI_GUARDED_BY(mutex_){};
};

}  // namespace pingti::router
