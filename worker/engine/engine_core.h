// One engine step after another: schedule, build the batch, forward, sample, publish.
//
// Owns the KV bookkeeping, the queues and all running requests. Has no thread and no clock of its
// own: engine.h runs it, tests step it by hand. Confined to one thread. Read next: scheduler.h for
// what a step computes, step_results.cc for what becomes of the tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "worker/engine/request.h"
#include "worker/engine/request_group.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/step_batch.h"
#include "worker/engine/validate.h"
#include "worker/model/model.h"

namespace pingti::worker {

struct EngineOptions {
  StepBudget budget;
  int32_t num_kv_blocks = 0;
  int32_t kv_block_tokens = 16;
  int32_t max_context_tokens = 0;  // 0: the model's own limit
  // Requests beyond these are refused at once with ResourceExhausted.
  int32_t max_waiting_sequences = 1024;
  // A step that takes longer is a stall.
  std::chrono::milliseconds step_deadline{30'000};
  std::vector<int32_t> eos_token_ids;
  // What grammars read; null: requests with a grammar are refused. Shared by all grammars.
  std::shared_ptr<const grammar::Vocabulary> vocabulary;
};

// The engine's state after a step, for load reports and metrics.
struct LoadSnapshot {
  uint64_t step = 0;
  int32_t running_sequences = 0;
  int32_t waiting_sequences = 0;
  int64_t waiting_uncached_tokens = 0;
  int32_t kv_total_blocks = 0;
  int32_t kv_leased_blocks = 0;
  int32_t kv_cached_blocks = 0;
  double prefill_tokens_per_s = 0.0;  // over recent steps that had any
  double decode_tokens_per_s = 0.0;
  double step_ms = 0.0;
  int64_t preemptions_total = 0;
};

// What one step did.
struct StepStats {
  std::chrono::nanoseconds duration{0};
  int32_t num_sequences = 0;
  int32_t num_tokens = 0;
  int32_t num_decode_tokens = 0;
  int32_t admitted_prompt_tokens = 0;
  int32_t admitted_cached_tokens = 0;
  int32_t output_tokens = 0;
  int32_t finished[kNumFinishReasons] = {};
};

// Watches the engine. Called on the engine thread at the end of each step; must not block.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void OnStepEnd(const StepStats& stats, const LoadSnapshot& load) = 0;
  virtual void OnCacheEvents(std::span<const CacheEvent> events) = 0;
};

using SessionId = uint64_t;

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
  // True when it waits for SetGrammar.
  bool Submit(SessionId session, Request request);
  // What became of a request's grammar: it is queued, or rejected with the error. Sequences that
  // ended meanwhile are fine. All grammars are used on this thread.
  void SetGrammar(SessionId session, uint64_t sequence_id,
                  absl::StatusOr<std::shared_ptr<grammar::CompiledGrammar>> compiled);
  // Ends sequences with kCancelled. Ids that are unknown (finished already) are fine.
  void Cancel(SessionId session, std::span<const uint64_t> sequence_ids);
  // Ends every sequence with kPreempted and `why`: another worker goes on with it.
  void GiveBackAll(const absl::Status& why = absl::OkStatus());

  // Runs one step and publishes what it brought. False when there was nothing to do. A failed step
  // ends its own sequences with kError; one that lost the device gives all sequences back.
  bool Step();

  // Requests that wait for their grammars are none.
  bool has_work() const { return num_groups_ > num_awaiting_; }
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
  struct Session {
    std::unique_ptr<SessionSink> sink;
    std::unordered_map<uint64_t, std::unique_ptr<RequestGroup>> groups;
    // outputs[0, num_outputs) belong to this step; the rest keeps its memory.
    std::vector<SequenceOutput> outputs;
    size_t num_outputs = 0;
    uint64_t highest_sequence_id = 0;
    bool accepted_any = false;  // since the last publication
  };

  // step_results.cc
  void FinishExpired();
  absl::Status RunModel();
  void TakeResults();
  void TakePromptLogprobs(const PlannedChunk& chunk, const StepBatch::Rows& rows, size_t* request);
  void ForkSamples(RequestGroup* group);
  // Whether the token can be the sample's next; its grammar has then read it.
  absl::Status CheckToken(const Sample& sample, const SampledToken& token) const;
  void TakeToken(RequestGroup* group, Sample* sample, SampledToken* token);
  void FinishSample(RequestGroup* group, Sample* sample, Finish finish);
  void FinishGroup(RequestGroup* group, FinishReason reason, const absl::Status& status);
  void PublishRanked(RequestGroup* group);
  void HandleFailedStep(const absl::Status& status);
  SequenceOutput* OutputFor(RequestGroup* group, Sample* sample, int32_t sample_index);
  SequenceOutput* NewOutput(Session* session, uint64_t sequence_id);
  void MaybeRetire(RequestGroup* group);

  // beam_step.cc
  void TakeBeamCandidates(RequestGroup* group, Sample* sample, SampledToken* token);
  void AdvanceBeams(RequestGroup* group);
  void RearrangeBeams(RequestGroup* group);
  void FinishBeams(RequestGroup* group);

  void Reject(Session* session, const Request& request, absl::Status status);
  void Enqueue(RequestGroup* group);
  void StopAwaiting(RequestGroup* group);
  void Admitted();
  void EraseRetired();
  void Publish();
  void UpdateRates(std::chrono::nanoseconds duration);

  Model* const model_;
  const Clock* const clock_;
  const EngineOptions options_;
  EngineObserver* const observer_;
  const RequestLimits limits_;
  PrefixCache cache_;
  Scheduler scheduler_;

  std::unordered_map<SessionId, Session> sessions_;
  size_t num_groups_ = 0;
  size_t num_awaiting_ = 0;  // groups whose grammar is being compiled
  uint64_t next_order_ = 0;

  // The step in progress.
  uint64_t step_ = 0;
  StepPlan plan_;
  std::vector<PlannedCopy> copies_;
  StepBatch batch_;
  StepStats stats_;
  std::vector<RequestGroup*> beam_groups_;  // got candidates in this step
  std::vector<RequestGroup*> retired_;      // done; erased at the end of the step
  int32_t consecutive_failures_ = 0;
  absl::Status device_;

  // Exponential means over recent steps.
  double mean_step_s_ = 0.0;
  double mean_prefill_s_ = 0.0;
  double mean_prefill_tokens_ = 0.0;
  double mean_decode_s_ = 0.0;
  double mean_decode_tokens_ = 0.0;
};

}  // namespace pingti::worker
