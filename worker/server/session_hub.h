// All sessions of the worker and the thread that writes to them.
//
// The engine fills outboxes and rings the bell; the hub's thread flushes the streams, so that no
// system call of gRPC runs on the engine thread. It also sends load reports (at least every
// interval, and at once on a large change), divides the submit credit, and feeds the metrics. Read
// next: outbox.h, session_stream.h.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "common/base/mutex.h"
#include "common/metrics/worker_metrics.h"
#include "worker/engine/engine.h"
#include "worker/server/outbox.h"

namespace pingti::worker {

// The writing end of one router's stream. Thread-safe.
class SessionWriter {
 public:
  virtual ~SessionWriter() = default;
  // Writes what the outbox has, unless a write is in flight.
  virtual void Flush() = 0;
  // Ends the stream with UNAVAILABLE once everything was written.
  virtual void EndWhenFlushed() = 0;
};

struct HubOptions {
  std::chrono::milliseconds report_interval{100};
  SubmitCredit total_credit;  // shared among the sessions
  WorkerIdentity identity;
  size_t max_message_bytes = 100 << 20;
};

// Thread-safe.
class SessionHub : public EngineObserver {
 public:
  // `metrics` may be null. Call Start once the engine exists, and Stop before it is destroyed.
  SessionHub(HubOptions options, metrics::WorkerMetrics* metrics);
  ~SessionHub() override;
  SessionHub(const SessionHub&) = delete;
  SessionHub& operator=(const SessionHub&) = delete;

  void Start();
  void Stop();

  // A stream began: its outbox is opened with this session's credit. The writer is kept (shared:
  // the hub's thread may be flushing while gRPC ends the stream) until Remove. `max_message_bytes`:
  // what the router reads; 0: it did not say.
  void Add(std::shared_ptr<SessionWriter> writer, std::shared_ptr<Outbox> outbox,
           uint32_t output_credit, uint32_t max_message_bytes);
  void Remove(const SessionWriter* writer);
  size_t num_sessions() const;
  // Asks the hub's thread to flush. Cheap; called on the engine thread.
  void Ring();
  // The same, once `at` has come; TimePoint::max(): not at all.
  void RingAt(TimePoint at);

  // Tells all sessions, also those still to come, which adapters there are.
  void SetAdapters(std::vector<AdapterInfo> adapters);
  // Tells all sessions, also those still to come, that no new sequences are taken.
  void AnnounceDraining(uint32_t deadline_ms);
  bool draining() const { return draining_.load(std::memory_order_acquire); }
  // Ends all streams once written out.
  void EndAll();

  // Engine thread.
  void OnStepEnd(const StepStats& stats, const LoadSnapshot& load) override;
  void OnCacheEvents(std::span<const CacheEvent> events) override;

 private:
  struct Entry {
    std::shared_ptr<SessionWriter> writer;
    std::shared_ptr<Outbox> outbox;
  };

  void Run();
  void RecordMetrics(const StepStats& stats, const LoadSnapshot& load);
  bool ChangedMuch(const LoadSnapshot& load) const PINGTI_REQUIRES(mutex_);
  SubmitCredit CreditPerSession() const PINGTI_REQUIRES(mutex_);
  void DivideCredit() PINGTI_REQUIRES(mutex_);

  const HubOptions options_;
  metrics::WorkerMetrics* const metrics_;
  metrics::Counter finished_[kNumFinishReasons];
  int64_t preemptions_seen_ = 0;  // engine thread

  mutable Mutex mutex_;
  CondVar rung_;
  bool bell_ PINGTI_GUARDED_BY(mutex_) = false;
  // When the first held output of any session is due, or before that.
  TimePoint release_at_ PINGTI_GUARDED_BY(mutex_) = TimePoint::max();
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  std::map<const SessionWriter*, Entry> sessions_ PINGTI_GUARDED_BY(mutex_);
  std::vector<AdapterInfo> adapters_ PINGTI_GUARDED_BY(mutex_);
  LoadSnapshot load_ PINGTI_GUARDED_BY(mutex_);
  LoadSnapshot reported_ PINGTI_GUARDED_BY(mutex_);
  bool report_now_ PINGTI_GUARDED_BY(mutex_) = false;
  uint32_t drain_deadline_ms_ PINGTI_GUARDED_BY(mutex_) = 0;
  std::atomic<bool> draining_{false};
  std::thread thread_;
};

}  // namespace pingti::worker
