// One engine step after another: plan, build the batch, forward, sample, take, publish.
//
// Owns the KV bookkeeping, the queues and all running requests. Has no thread and no clock of its
// own: engine.h runs it, tests step it by hand. Confined to one thread. Read next: scheduler.h for
// what a step computes, token_taker.h for what becomes of the tokens, groups/ for beams.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "worker/engine/adapter_slots.h"
#include "worker/engine/draft_source.h"
#include "worker/engine/engine_rates.h"
#include "worker/engine/engine_stats.h"
#include "worker/engine/groups/beam_steps.h"
#include "worker/engine/prefill_pacer.h"
#include "worker/engine/request.h"
#include "worker/engine/request_finisher.h"
#include "worker/engine/request_group.h"
#include "worker/engine/request_table.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/session_outputs.h"
#include "worker/engine/speculator.h"
#include "worker/engine/step_batch.h"
#include "worker/engine/token_taker.h"
#include "worker/engine/validate.h"
#include "worker/grammar/mask_budget.h"
#include "worker/model/model.h"

namespace pingti::worker {

struct EngineOptions {
  StepBudget budget;
  int32_t num_kv_blocks = 0;
  int32_t kv_block_tokens = 16;
  int32_t max_context_tokens = 0;  // 0: the model's own limit
  // Requests beyond these are refused at once with ResourceExhausted.
  int32_t max_waiting_sequences = 1024;
  // Prefills beside running answers are cut so that a step takes about this long at most; 0: they
  // are not.
  std::chrono::milliseconds max_step_time{0};
  // A step that takes longer is a stall.
  std::chrono::milliseconds step_deadline{30'000};
  std::vector<int32_t> eos_token_ids;
  // What grammars read; null: requests with a grammar are refused. Shared by all grammars.
  std::shared_ptr<const grammar::Vocabulary> vocabulary;
  MaskLimits mask_limits{};
  DraftSource* drafts = nullptr;    // borrowed; null: every step draws one token per sample
  int32_t max_drafts = kMaxDrafts;  // per sample and step, up to kMaxDrafts
};

class EngineCore {
 public:
  // `model` is allocated with the same options; everything borrowed must outlive the core.
  // `observer` may be null. REQUIRES: options are consistent (see Scheduler).
  EngineCore(Model* model, const Clock* clock, const EngineOptions& options,
             EngineObserver* observer);
  ~EngineCore();
  EngineCore(const EngineCore&) = delete;
  EngineCore& operator=(const EngineCore&) = delete;

  // `id` is unique for the process's life.
  void OpenSession(SessionId id, std::unique_ptr<SessionSink> sink);
  // Drops the session's sequences without a word, then its sink.
  void CloseSession(SessionId id);

  // Queues a request, or answers it with kRejected. The answers leave with the next Step.
  // True when it waits for SetGrammar. One with an adapter_id waits for SetAdapter.
  bool Submit(SessionId session, Request request);
  // What became of a request's grammar: it is queued, or rejected with the error. Sequences that
  // ended meanwhile are fine. All grammars are used on this thread.
  void SetGrammar(SessionId session, uint64_t sequence_id,
                  absl::StatusOr<std::shared_ptr<grammar::CompiledGrammar>> compiled);
  // The adapter that a request waits for. As SetGrammar.
  void SetAdapter(SessionId session, uint64_t sequence_id, absl::StatusOr<AdapterPtr> adapter);
  // Ends sequences with kCancelled. Ids that are unknown (finished already) are fine.
  void Cancel(SessionId session, std::span<const uint64_t> sequence_ids);
  // Ends every sequence with kPreempted and `why`: another worker goes on with it.
  void GiveBackAll(const absl::Status& why = absl::OkStatus());

  // Runs one step and publishes what it brought. False when there was nothing to do. A failed step
  // ends its own sequences with kError; one that lost the device gives all sequences back.
  bool Step();

  // Whether a step would do anything. A request that waits for its grammar or its adapter is no
  // work yet.
  bool has_work() const {
    return requests_.size() > awaiting_.size() || !finisher_.retired().empty();
  }
  // Steps in a row whose forward or sampling failed.
  int32_t consecutive_failures() const { return consecutive_failures_; }
  // DataLoss once a step has lost the device: nothing runs any more, and requests are given back.
  const absl::Status& device() const { return device_; }
  const RequestLimits& limits() const { return limits_; }
  LoadSnapshot load() const;
  absl::Status CheckInvariants() const { return scheduler_.CheckInvariants(); }
  // For tests: as if memory pressure had struck.
  void PreemptForTest(size_t running_index);

 private:
  void Reject(SessionId session, const Request& request, absl::Status status);
  void Enqueue(RequestGroup* group);
  // Reads on in the outputs that resumed requests bring along. Whether there were any.
  bool AdvanceReplays();
  // Queues a request that waits for nothing more.
  void GoOn(RequestGroup* group);
  // Ends a request for which what it waited for cannot be had.
  void GiveUp(RequestGroup* group, const absl::Status& why);
  void ForgetWaiting(RequestGroup* group);

  // The phases of a step.
  void NoteAdmissions();
  absl::Status RunModel();
  absl::Status NoteExpertImbalance();
  void TakeResults();
  void TakeChunk(size_t index);
  void HandleFailedStep(const absl::Status& status);
  void EraseRetired();
  void Publish();

  Model* const model_;
  const Clock* const clock_;
  const EngineOptions options_;
  EngineObserver* const observer_;
  const RequestLimits limits_;
  PrefixCache cache_;
  Scheduler scheduler_;
  StepStats stats_;  // of the step in progress

  RequestTable requests_;
  std::unordered_set<RequestGroup*> awaiting_;  // for a grammar or an adapter
  // Requests that are resumed, whose grammar has read only the first `next` tokens of their output.
  struct Replay {
    RequestGroup* group;
    size_t next;
  };
  std::deque<Replay> replays_;
  MaskBudget mask_budget_;
  uint64_t next_order_ = 0;
  SessionOutputs outputs_;
  RequestFinisher finisher_;
  TokenTaker taker_;
  BeamSteps beams_;
  EngineRates rates_;
  PrefillPacer pacer_;
  Speculator speculator_;

  // The step in progress.
  uint64_t step_ = 0;
  StepPlan plan_;
  std::vector<PlannedCopy> copies_;
  AdapterSlots adapter_slots_;
  StepBatch batch_;
  int32_t consecutive_failures_ = 0;
  absl::Status device_;
  TimePoint next_look_at_experts_{};
};

}  // namespace pingti::worker
