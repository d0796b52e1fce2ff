// All workers this router knows: their state, load, credit, and which sequence runs where.
//
// Owns the links (made by a factory, so tests bring scripted ones). Link callbacks come in on gRPC
// threads; handlers and the capacity listener are called on those threads with no lock held.
// Read next: router/pipeline/dispatcher.h, which places sequences.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/metrics/router_metrics.h"
#include "router/registry/breaker.h"
#include "router/registry/check_output.h"
#include "router/registry/prefix_index.h"
#include "router/registry/sequence_handler.h"
#include "router/registry/worker_address.h"
#include "router/registry/worker_load.h"
#include "router/worker_link/worker_link.h"

namespace pingti::router {

enum class WorkerState { kConnecting, kReady, kDraining, kDead };
std::string_view WorkerStateName(WorkerState state);

struct WorkerStatus {
  std::string address;
  std::string worker_id;
  std::string model_id;
  WorkerState state;
  uint32_t booked_sequences;
};

// A worker that may be asked for something.
struct ReadyWorker {
  std::string address;
  std::string model_id;
  std::shared_ptr<WorkerChannel> channel;  // shared with the registry
};

struct ModelStatus {
  std::shared_ptr<const ServedModel> model;
  uint32_t ready_workers;
};

// What a sequence may take at its worker.
struct BookingSize {
  uint32_t most_output = UINT32_MAX;  // tokens of an answer
  uint32_t answers = 1;
  uint32_t sequences = 1;  // that it is at the worker: more than one with beams
};

// Thread-safe.
class WorkerRegistry final : public WorkerEvents {
 public:
  using LinkFactory =
      std::function<std::shared_ptr<WorkerChannel>(LinkId id, const std::string& address)>;

  // `clock` and `metrics` must outlive this.
  WorkerRegistry(BreakerOptions breaker, const Clock* clock, metrics::RouterMetrics* metrics);
  // Closes every link. REQUIRES: nobody uses this any more but the links themselves.
  ~WorkerRegistry() override;

  // Both before the first SetAddresses. `on_capacity` is called when a worker may take more.
  void Connect(LinkFactory factory, std::function<void()> on_capacity);

  // What discovery found: links are made for new addresses and closed for those gone (their
  // sequences are then lost and resumed elsewhere).
  void SetAddresses(const std::vector<WorkerAddress>& workers);
  // Frees closed links once nobody uses them. Call every now and then.
  void Reap();
  // Closes all links; their sequences are lost.
  void CloseAll();

  // The model that answers to `name`: of several builds the one most workers are ready for, with
  // the largest context among its ready workers, or among all while none is. Null: none. Workers
  // that are away keep their model known until discovery drops them.
  std::shared_ptr<const ServedModel> FindModel(std::string_view name) const;
  // Whose context holds `context_tokens`.
  bool HasReadyWorker(std::string_view fingerprint, uint32_t context_tokens = 0) const;
  std::vector<ModelStatus> Models() const;
  std::vector<WorkerStatus> Workers() const;
  uint32_t num_ready() const;
  // Those whose own model answers to `model`; all of them where that is empty.
  std::vector<ReadyWorker> ReadyWorkers(std::string_view model) const;

  // Ready workers of the fingerprint whose context holds `context_tokens`, prompt and output, and
  // whose breaker allows it; each says whether it has credit for a prompt of `tokens`, of which
  // what is cached there takes none. Empty when no worker has credit. Those in `excluded` count
  // only when no other is ready: a second try there is better than none.
  // `sequences`: see BookingSize.
  // `block_hashes`: the prompt's full blocks, for WorkerLoad::cached_prompt_tokens: cached, or of a
  // sequence that this router has sent and that has not ended.
  std::vector<WorkerLoad> Candidates(std::string_view fingerprint, uint32_t tokens,
                                     const std::vector<WorkerKey>& excluded,
                                     std::span<const uint64_t> block_hashes = {},
                                     uint32_t context_tokens = 0, uint32_t sequences = 1) const;
  // Enters a sequence in the books under a new id, ascending per worker; from here its handler is
  // told of its outputs. Null channel when the worker is gone. The caller then submits the sequence
  // through the channel. `cached_tokens` of `tokens` are cached there; the handler keeps what
  // `block_hashes` points to. It ends with the last of its answers, or with one that failed. An
  // output that cannot be true (see check_output.h) ends it as a failure of this worker, kAborted.
  struct Booked {
    std::shared_ptr<WorkerChannel> channel;
    SequencePlace place;
  };
  Booked Book(WorkerKey worker, uint32_t tokens, std::shared_ptr<SequenceHandler> handler,
              uint64_t cached_tokens = 0, std::span<const uint64_t> block_hashes = {},
              BookingSize size = {});
  // Forgets a sequence and cancels it at its worker. Its handler is not called again, but for a
  // call already under way. No-op for an unknown id.
  void Cancel(WorkerKey worker, uint64_t sequence_id);

  void OnConnecting(LinkId link) override;
  void OnReady(LinkId link, const WorkerInfo& info) override;
  void OnStepOutput(LinkId link, StepOutput step) override;
  void OnLoadReport(LinkId link, const LoadReport& report) override;
  void OnKvEvents(LinkId link, const KvEvents& events) override;
  void OnSubmitCredit(LinkId link, const SubmitCredit& credit) override;
  void OnDraining(LinkId link) override;
  void OnAdapters(LinkId link, std::vector<std::shared_ptr<const ServedModel>> adapters) override;
  void OnLost(LinkId link, const absl::Status& why) override;

 private:
  class EventScope;

  struct Booking {
    uint32_t uncached_tokens;
    std::shared_ptr<SequenceHandler> handler;
    std::span<const uint64_t> block_hashes;  // the handler keeps them
    OutputLimits limits;
    uint32_t sequences;
    bool started = false;  // its first output came: it no longer waits at the worker
  };
  using Bookings = std::map<uint64_t, Booking>;  // ordered: ids are in the order of sending
  struct Worker {
    explicit Worker(BreakerOptions options) : breaker(options) {}
    std::string address;
    std::shared_ptr<WorkerChannel> channel;  // shared with whoever is submitting
    WorkerState state = WorkerState::kConnecting;
    bool dropped = false;  // discovery no longer lists it: never ready again
    WorkerKey key = 0;     // 0: no session
    WorkerInfo info;
    WorkerLoad load;  // sent_* kept up to date by the booking functions
    uint64_t reported_sequence_id = 0;
    metrics::Counter dispatched;     // from OnReady on
    uint32_t waiting_sequences = 0;  // booked and not started
    uint64_t waiting_tokens = 0;
    Breaker breaker;
    Bookings bookings;
    // Null without a session; shared with a link's call that is under way when the session ends.
    std::shared_ptr<WorkerPrefixes> prefixes;
    std::shared_ptr<ExpectedPrefixes> expected;  // as `prefixes`
  };

  // One that a prompt might go to, as it was under the lock.
  struct Candidate {
    WorkerLoad load;
    size_t cached_slot = 0;    // of prefix_index_
    size_t expected_slot = 0;  // of expected_index_
    bool has_place = false;    // for that many sequences
    uint64_t free_tokens = 0;  // of its credit; no limit where nothing waits
  };

  static void Start(Worker* worker, uint64_t sequence_id, Booking* booking);
  static void Release(Worker* worker, Bookings::iterator booking);
  // Ready for sequences of the fingerprint that need `context_tokens`.
  static bool CanHold(const Worker& worker, std::string_view fingerprint, uint32_t context_tokens);
  // Whether the worker's model, or one of its adapters, has the fingerprint.
  static bool Serves(const WorkerInfo& info, std::string_view fingerprint);
  // Of the models, adapters too, that `which` says yes to.
  template <typename Which>
  std::vector<ModelStatus> StatusesOf(Which which) const;
  static Candidate MakeCandidate(const Worker& worker, uint32_t sequences);
  // Output that its context has room for behind `tokens`.
  static uint32_t RoomFor(const Worker& worker, uint32_t tokens);
  // What the worker says it had cached of a sequence, it has cached.
  static std::span<const uint64_t> CachedBlocks(const Worker& worker, const Booking& booking,
                                                const SequenceOutput& first_output);
  // Counts an output that can be true; one that cannot becomes the sequence's end. False then, and
  // the worker still runs the sequence, as far as is known.
  static bool TakeOutput(const Worker& worker, Booking* booking, SequenceOutput* output);
  // Whether nothing more will come of the sequence.
  static bool IsLast(const Booking& booking, const SequenceOutput& output);
  void RecordFinish(Worker* worker, const Finish& finish) PINGTI_REQUIRES(mutex_);
  Worker* FindByKey(WorkerKey key) PINGTI_REQUIRES(mutex_);
  // Null without a session.
  std::shared_ptr<WorkerPrefixes> FindPrefixes(LinkId link);

  const BreakerOptions breaker_options_;
  const Clock* const clock_;
  metrics::RouterMetrics* const metrics_;
  LinkFactory factory_;
  std::function<void()> on_capacity_;
  // These have locks of their own, and are not used under mutex_.
  PrefixIndex prefix_index_;
  PrefixIndex expected_index_;

  mutable Mutex mutex_;
  std::map<LinkId, Worker> workers_ PINGTI_GUARDED_BY(mutex_);
  std::map<WorkerKey, LinkId> keys_ PINGTI_GUARDED_BY(mutex_);
  // Closed links wait here until nobody submits through them: a link must not be destroyed on its
  // own callback thread.
  std::vector<std::shared_ptr<WorkerChannel>> retired_ PINGTI_GUARDED_BY(mutex_);
  // Events that are being handled. One may hold its own link, so that closing it joins nothing.
  int num_events_ PINGTI_GUARDED_BY(mutex_) = 0;
  CondVar no_events_;
  LinkId next_link_ PINGTI_GUARDED_BY(mutex_) = 1;
  uint64_t next_sequence_id_ PINGTI_GUARDED_BY(mutex_) = 1;
  WorkerKey next_key_ PINGTI_GUARDED_BY(mutex_) = 1;
};

}  // namespace pingti::router
