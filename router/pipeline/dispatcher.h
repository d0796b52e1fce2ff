// Joins queue, policy and registry: places waiting sequences on workers whenever one has credit.
//
// Pump runs on whichever thread brought news (a new request, a first token, a finished sequence, a
// worker that became ready); one thread at a time is inside, others leave word and go on.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "router/policy/policy.h"
#include "router/queue/sequence_queue.h"
#include "router/registry/worker_registry.h"

namespace pingti::router {

struct DispatcherOptions {
  // A sequence that has waited so long goes with those of the highest priority; 0: never.
  std::chrono::milliseconds promote_after{0};
};

// Thread-safe.
class Dispatcher {
 public:
  // `registry` must outlive this; its capacity listener should call Pump.
  Dispatcher(WorkerRegistry* registry, std::unique_ptr<Policy> policy,
             std::unique_ptr<QueueOrder> order, const Clock* clock, DispatcherOptions options = {});

  uint64_t NextJobId() { return next_job_id_.fetch_add(1, std::memory_order_relaxed); }

  // Queues the job. The handler's calls may come before Submit returns.
  void Submit(SequenceJob job);
  // Takes a job back that OnPlaced was not called for.
  void CancelQueued(uint64_t job_id);
  // Takes a sequence back that was placed.
  void CancelPlaced(WorkerKey worker, uint64_t sequence_id);

  // Whether a worker that is ready now has a context that holds so much.
  bool HasWorkerFor(std::string_view fingerprint, uint32_t context_tokens) const;

  // Chooses for what is placed from now on.
  void SetPolicy(std::unique_ptr<Policy> policy);
  // Of a sequence that was placed: its answer has so many tokens more than
  // SequenceJob::expected_answer, or than the last call said, or fewer.
  void CountAnswer(std::string_view line, double weight, double tokens);

  void Pump();
  // Gives up jobs that waited too long, promotes others and closes finished breakers' waits.
  void Tick();

  size_t queued() const;

 private:
  // What jobs that this round has passed by will send to the workers for which they wait.
  struct Waiting {
    uint32_t sequences = 0;
    uint64_t tokens = 0;
  };
  using Waits = std::map<WorkerKey, Waiting>;

  void PumpOnce();
  // Where the job should go; worker 0: nowhere now; without credit: it should wait for that one.
  WorkerLoad Choose(const SequenceJob& job, const Waits& waits) PINGTI_REQUIRES(mutex_);

  WorkerRegistry* const registry_;
  const Clock* const clock_;
  const DispatcherOptions options_;
  std::atomic<uint64_t> next_job_id_{1};
  std::atomic<int> pump_requests_{0};

  mutable Mutex mutex_;
  std::unique_ptr<Policy> policy_ PINGTI_GUARDED_BY(mutex_);
  SequenceQueue queue_ PINGTI_GUARDED_BY(mutex_);
};

}  // namespace pingti::router
