// What waits to be written to one router: the engine adds, the stream takes.
//
// A router that reads slowly, or is out of credit, costs memory for its own tokens and nothing
// else: outputs of several steps merge into one message (or a few, where they are larger than one
// may be), load reports and credit are replaced by newer ones, cache events are dropped beyond a
// bound, and the router is told to forget what it knew of the cache. The engine never waits here.
// Shared by the engine's sink and the stream, whose lives end in either order.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "worker/adapters/adapter_store.h"
#include "worker/engine/engine_core.h"
#include "worker/engine/request.h"
#include "worker/server/held_outputs.h"

namespace pingti::worker::v1 {
class SessionResponse;
class Welcome;
}  // namespace pingti::worker::v1

namespace pingti::worker {

// The version of proto/pingti/worker/v1 that a session speaks: Hello and Welcome carry it.
inline constexpr uint32_t kProtocolVersion = 1;

// Submissions a router may have waiting here.
struct SubmitCredit {
  uint32_t max_waiting_sequences = 0;
  uint32_t max_waiting_tokens = 0;
  friend bool operator==(const SubmitCredit&, const SubmitCredit&) = default;
};

// What does not change between sessions of one process.
struct WorkerIdentity {
  std::string worker_id;
  std::string incarnation;
  std::string model_fingerprint;
  std::vector<std::string> features;
  uint32_t max_message_bytes = 0;
};

// Thread-safe.
class Outbox {
 public:
  // Nothing is taken before Open.
  Outbox() = default;

  // The router said Hello: Welcome goes out first. `output_credit` 0: unlimited. Outputs and cache
  // events are split over messages of at most `max_message_bytes`; one token's logprobs are never
  // split.
  void Open(const WorkerIdentity& identity, SubmitCredit credit, uint32_t output_credit,
            size_t max_message_bytes);
  void AddOutputCredit(uint32_t steps);

  // The outputs are moved from; some may wait, see held_outputs.h. Returns when there is something
  // to write: `now`, or when ReleaseHeld will have it.
  TimePoint AddOutputs(uint64_t step, std::span<SequenceOutput> outputs, TimePoint now);
  // What is held and due waits no more. Returns when the next is due; TimePoint::max(): never.
  TimePoint ReleaseHeld(TimePoint now);
  void AddCacheEvents(std::span<const CacheEvent> events);
  void SetAccepted(uint64_t highest_sequence_id);
  void SetLoad(const LoadSnapshot& load);
  void SetCredit(SubmitCredit credit);
  void SetDraining(uint32_t deadline_ms);
  // The adapters that there are from now on.
  void SetAdapters(std::vector<AdapterInfo> adapters);

  // Fills the next message to write, the most urgent kind first. False when there is nothing to
  // write now. One thread at a time. REQUIRES: `response` is cleared.
  bool Take(v1::SessionResponse* response);
  // Outputs that wait to be taken: one per sample that got something since it was taken last.
  size_t num_outputs() const;
  // Nothing is left that Take would ever give, were there credit. Load reports do not count.
  bool drained() const;

 private:
  void Merge(SequenceOutput&& output) PINGTI_REQUIRES(mutex_);
  // The first outputs, as many as one message holds; a part of the first where it is too large.
  std::vector<SequenceOutput> TakeOutputs() PINGTI_REQUIRES(mutex_);
  std::vector<CacheEvent> TakeEvents() PINGTI_REQUIRES(mutex_);

  mutable Mutex mutex_;
  bool open_ PINGTI_GUARDED_BY(mutex_) = false;
  std::optional<WorkerIdentity> welcome_ PINGTI_GUARDED_BY(mutex_);
  SubmitCredit credit_ PINGTI_GUARDED_BY(mutex_);
  bool credit_changed_ PINGTI_GUARDED_BY(mutex_) = false;
  bool unlimited_ PINGTI_GUARDED_BY(mutex_) = false;
  uint64_t output_credit_ PINGTI_GUARDED_BY(mutex_) = 0;
  size_t max_message_bytes_ PINGTI_GUARDED_BY(mutex_) = 0;

  uint64_t step_ PINGTI_GUARDED_BY(mutex_) = 0;
  std::vector<SequenceOutput> outputs_ PINGTI_GUARDED_BY(mutex_);
  HeldOutputs held_ PINGTI_GUARDED_BY(mutex_);
  size_t merge_hint_ PINGTI_GUARDED_BY(mutex_) = 0;  // where the next output's match likely is

  std::vector<CacheEvent> events_ PINGTI_GUARDED_BY(mutex_);
  bool events_lost_ PINGTI_GUARDED_BY(mutex_) = false;  // before events_; not told yet
  uint64_t next_event_id_ = 1;  // Take only, which one thread calls at a time

  uint64_t accepted_ PINGTI_GUARDED_BY(mutex_) = 0;
  std::optional<LoadSnapshot> load_ PINGTI_GUARDED_BY(mutex_);
  std::optional<uint32_t> draining_ PINGTI_GUARDED_BY(mutex_);
  // To be told; the first ones go with the Welcome.
  std::optional<std::vector<AdapterInfo>> adapters_ PINGTI_GUARDED_BY(mutex_);
};

}  // namespace pingti::worker
