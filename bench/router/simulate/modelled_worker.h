// A worker in virtual time: the engine's rules (worker/engine/scheduler.h) over a cost model, with
// a prefix cache, credit and load reports, and without a model.
//
// Steps that only give tokens to running sequences are taken together until one of them ends, as
// nobody hears of a token between a sequence's first and its last.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "bench/router/simulate/cost_model.h"
#include "bench/router/simulate/event_queue.h"
#include "bench/router/simulate/modelled_cache.h"
#include "bench/router/simulate/workload.h"
#include "router/worker_link/worker_link.h"

namespace pingti::bench {

struct ModelledWorkerSettings {
  CostModel cost = kQwen72bInt8;
  uint32_t block_tokens = 64;
  uint32_t max_batch_size = 64;
  uint32_t max_batch_tokens = 4096;
  double max_step_s = 0.150;  // of steps that have decodes, as the worker's max_step_time
  double report_interval_s = 0.1;
  double network_s = 0.0005;  // one way, for every message
};

// What became of one sequence here.
struct ModelledService {
  double busy_s = 0;  // since the start
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;
  uint64_t preemptions = 0;
};

// Thread-compatible.
class ModelledWorker {
 public:
  // `events` must outlive this.
  ModelledWorker(ModelledWorkerSettings settings, EventQueue* events);

  // A router's session, in the order of these calls. `listener` hears of it under `link`.
  void Connect(router::WorkerEvents* listener, router::LinkId link);
  // A sequence arrived. `request` must outlive it.
  void Submit(size_t session, uint64_t sequence_id, int32_t priority,
              const SimulatedRequest* request);

  const ModelledService& service() const { return service_; }

 private:
  struct Session {
    router::WorkerEvents* listener;
    router::LinkId link;
    uint64_t accepted = 0;  // the highest sequence id
    uint64_t next_event_id = 1;
    router::StepOutput outputs{};  // of this step
  };
  struct Sequence {
    size_t session;
    uint64_t id;
    int32_t priority;
    const SimulatedRequest* request;
    uint32_t generated = 0;
    uint32_t computed = 0;     // tokens with valid KV
    uint32_t cached = 0;       // of the prompt, when it was admitted first
    bool told_cached = false;  // its first output is out
    size_t named = 0;          // leading blocks that have names
    uint64_t unnamed = 0;

    // Tokens that must be computed before the next one can be drawn.
    uint32_t target() const { return request->input_tokens + generated; }
    uint32_t pending() const { return target() - computed; }
    bool decodes() const { return generated > 0 && pending() == 1; }
  };
  struct Chunk {
    Sequence* sequence;
    uint32_t tokens;
  };

  // Begins a step when there is something to compute and none is under way.
  void Step();
  void PlanDecodes();
  void PlanPrefills();
  void Admit(uint32_t* tokens_left);
  // Leases what `tokens` more take; false when there are not as many blocks.
  bool LeaseFor(Sequence* sequence, uint32_t tokens);
  bool PreemptLast(const Sequence* keep);
  void Release(Sequence* sequence);
  void EndStep(uint32_t repeats);
  void Compute(Sequence* sequence, uint32_t tokens);
  void Draw(Sequence* sequence, uint32_t tokens);
  void SendOutputs();
  void SendCacheEvents();
  void Report();
  bool ReportDiffers() const;
  void RequestReport();
  uint64_t Blocks(uint64_t tokens) const {
    return (tokens + settings_.block_tokens - 1) / settings_.block_tokens;
  }
  size_t CountCached(const Sequence& sequence) const;

  const ModelledWorkerSettings settings_;
  EventQueue* const events_;
  ModelledCache cache_;
  std::vector<Session> sessions_;
  std::list<Sequence> running_;
  std::list<Sequence> waiting_;  // in serving order
  std::vector<Chunk> plan_;
  bool stepping_ = false;
  uint64_t step_number_ = 0;
  double step_began_ = 0;
  double step_s_ = 0;  // of each of those that are taken together
  uint32_t step_repeats_ = 1;
  double prefill_rate_ = 0;  // exponential means
  double mean_step_s_ = 0;
  router::LoadReport reported_;
  bool report_requested_ = false;
  ModelledService service_;
};

}  // namespace pingti::bench
