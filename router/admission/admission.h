// Who gets in: bounded queues in sequences and tokens; per API key bounded concurrency, requests
// and tokens per minute, and a ceiling on priorities. What does not fit is refused at once with a
// hint when to come back, never left to time out.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "router/admission/admission_options.h"  // IWYU pragma: export
#include "router/admission/rate_limits.h"
#include "router/admission/tenant.h"

namespace pingti::router {

// What a request asks for.
struct AdmissionRequest {
  std::string tenant{};   // name of the API key, empty without keys
  std::string network{};  // stands for a key where there are none
  int32_t priority = 0;
  size_t sequences = 1;
  uint64_t tokens = 0;         // to prefill, all sequences together
  uint64_t answer_tokens = 0;  // that count as used of the key's tokens until the answer is known
};

// When the queue is full, a newcomer takes the place of what waits with a lower priority; of what
// waits with its own, if another key has so much more waiting that it still has as much as the
// newcomer's after giving up its newest request (longest queue drop: Suter, Lakshman, Stiliadis and
// Choudhury, "Design considerations for supporting TCP with per-flow queueing", INFOCOM 1998). So a
// key that fills the queue cannot keep others out of it. Only requests without any token are
// displaced. Thread-safe.
class AdmissionController {
 public:
  // Called at most once, without locks, on the thread that admits the newcomer.
  using OnDisplaced = std::function<void(const absl::Status& why)>;

  // One request's place. Gives everything back when destroyed. Thread-compatible.
  class Ticket {
   public:
    ~Ticket();
    // One more of the request's sequences has its first token: it leaves the queue's count, and the
    // request is not displaced any more. REQUIRES: not called more often than there are sequences.
    void OnSequenceStarted();
    // No sequence has started, and OnDisplaced was or is being called.
    bool displaced() const;
    // Of the key's class; zero: there is none.
    std::chrono::milliseconds first_token_objective() const { return first_token_objective_; }
    // The tokens of the answer so far, all sequences together: what counts for the key's tokens
    // per minute when this is destroyed.
    void SetOutputTokens(uint64_t tokens) { output_tokens_ = tokens; }

   private:
    friend class AdmissionController;
    Ticket(AdmissionController* controller, AdmissionRequest request, OnDisplaced on_displaced)
        : controller_(controller),
          request_(std::move(request)),
          on_displaced_(std::move(on_displaced)) {}

    AdmissionController* const controller_;
    const AdmissionRequest request_;
    const OnDisplaced on_displaced_;
    uint64_t output_tokens_ = 0;
    std::chrono::milliseconds first_token_objective_{0};
    // Under the controller's lock.
    uint64_t arrival_ = 0;  // 0: not admitted
    std::chrono::steady_clock::time_point admitted_at_{};
    size_t waiting_sequences_ = 0;
    uint64_t waiting_tokens_ = 0;
    bool started_ = false;
    bool displaced_ = false;
  };

  // `clock` must outlive this, and this the tickets.
  AdmissionController(AdmissionOptions options, const Clock* clock)
      : clock_(clock), options_(std::move(options)) {}

  // Errors: ResourceExhausted naming the limit that is reached, with Retry-After; InvalidArgument
  // when the request would never be admitted.
  absl::StatusOr<std::unique_ptr<Ticket>> Admit(AdmissionRequest request, OnDisplaced on_displaced);

  // Both count for requests from now on; what is under way goes on.
  void SetOptions(const AdmissionOptions& options);
  void SetTenants(std::map<std::string, Tenant> tenants);

  // What a key has left of its limits per minute.
  Quota QuotaOf(const std::string& tenant) const;

  size_t queued_sequences() const;
  uint64_t queued_tokens() const;
  size_t concurrent_sequences() const;

 private:
  // Ascending: what would be displaced first. Priority, then the newest.
  using Rank = std::pair<int32_t, uint64_t>;
  struct Account {
    size_t concurrent_sequences = 0;
    uint64_t queued_work = 0;           // see WorkOf
    std::map<Rank, Ticket*> waiting{};  // requests that no sequence has started of
  };
  using Accounts = std::map<std::string, Account>;

  // How long requests keep their places: a mean that follows the last dozen of them.
  struct HoldingTime {
    double mean_s = 0;
    int count = 0;
    void Add(double seconds);
  };

  static Rank RankOf(const Ticket& ticket);
  absl::Status CheckEverFits(const AdmissionRequest& request) const PINGTI_REQUIRES(mutex_);
  // The key's own limits, or those for all.
  int32_t MaxPriorityOf(const std::string& tenant) const PINGTI_REQUIRES(mutex_);
  size_t MaxConcurrentOf(const std::string& tenant) const PINGTI_REQUIRES(mutex_);
  std::chrono::milliseconds ObjectiveOf(const std::string& tenant) const PINGTI_REQUIRES(mutex_);
  // This router's part of a key's limit.
  uint64_t ShareOf(uint64_t limit) const PINGTI_REQUIRES(mutex_);
  void ApplyRates() PINGTI_REQUIRES(mutex_);
  absl::Status CheckConcurrency(const AdmissionRequest& request) PINGTI_REQUIRES(mutex_);
  absl::Status CheckQueue(const AdmissionRequest& request) PINGTI_REQUIRES(mutex_);
  absl::Status CheckPredictedWait(const AdmissionRequest& request) PINGTI_REQUIRES(mutex_);
  // Until a request's turn in the fair order: behind what waits with its priority or a higher one,
  // or behind as much of every other line as of its own, itself included.
  double PredictedWaitSeconds(const AdmissionRequest& request) PINGTI_REQUIRES(mutex_);
  // What to take out of the queue for `request`; null: nothing may go for it.
  Ticket* FindVictim(const AdmissionRequest& request) PINGTI_REQUIRES(mutex_);
  void EnterQueue(Ticket* ticket) PINGTI_REQUIRES(mutex_);
  void LeaveQueue(Ticket* ticket) PINGTI_REQUIRES(mutex_);
  void CountStart() PINGTI_REQUIRES(mutex_);
  void CountEnd(const Ticket& ticket) PINGTI_REQUIRES(mutex_);
  // Takes back what counted for an answer that nobody knew, and counts what came.
  void SettleRates(const Ticket& ticket) PINGTI_REQUIRES(mutex_);
  // Until the queue is empty, by the rate of starts.
  int RetryAfterSeconds() PINGTI_REQUIRES(mutex_);
  // Until `needed` of the `used` places are free again, at the rate at which they become free:
  // used / mean holding time (Little's law).
  int RetryAfterSeconds(size_t needed, size_t used, const HoldingTime& holding) const;

  const Clock* const clock_;
  mutable Mutex mutex_;
  AdmissionOptions options_ PINGTI_GUARDED_BY(mutex_);
  std::map<std::string, Tenant> limits_ PINGTI_GUARDED_BY(mutex_);  // of keys, by name
  RateLimits rates_ PINGTI_GUARDED_BY(mutex_);
  size_t queued_sequences_ PINGTI_GUARDED_BY(mutex_) = 0;
  uint64_t queued_tokens_ PINGTI_GUARDED_BY(mutex_) = 0;
  size_t concurrent_sequences_ PINGTI_GUARDED_BY(mutex_) = 0;
  uint64_t arrivals_ PINGTI_GUARDED_BY(mutex_) = 1;
  Accounts accounts_ PINGTI_GUARDED_BY(mutex_);  // of those with requests under way
  // Sequences started per second, an exponential mean over about 10 s: what Retry-After is made of.
  double start_rate_ PINGTI_GUARDED_BY(mutex_) = 0;
  std::chrono::steady_clock::time_point last_start_ PINGTI_GUARDED_BY(mutex_){};
  HoldingTime holding_ PINGTI_GUARDED_BY(mutex_);
  std::map<std::string, HoldingTime> holding_of_key_ PINGTI_GUARDED_BY(mutex_);
};

}  // namespace pingti::router
