// What the engine is asked and what it answers, free of any wire format.
//
// The server translates proto/pingti/worker/v1/worker.proto into these and back; field names are
// the proto's, so that messages about them mean something to the router. Plain data.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/grammar/grammar_source.h"
#include "worker/adapters/adapter_store.h"
#include "worker/backend/sampling_params.h"
#include "worker/engine/sequence.h"
#include "worker/sampling/parameters.h"

namespace pingti::worker {

struct StopParameters {
  int32_t max_tokens = 0;  // 0: up to the context's end
  int32_t min_tokens = 0;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  std::vector<std::string> stop_texts;  // each ends a beam whose output's text completes it
};

struct LogprobParameters {
  bool enabled = false;
  int32_t top_logprobs = 0;
  bool prompt = false;
};

struct Request {
  uint64_t sequence_id = 0;
  std::string request_id;
  std::vector<int32_t> prompt_token_ids;
  std::vector<int32_t> generated_token_ids;
  SamplingParameters sampling;
  StopParameters stop;
  LogprobParameters logprobs;
  std::optional<grammar::GrammarSource> grammar;  // the output's form
  int32_t priority = 0;
  TimePoint arrival;
  TimePoint deadline = TimePoint::max();
  std::string cache_salt;
  AdapterPtr adapter;      // null: the base model, or an adapter that is still to come
  std::string adapter_id;  // of the one that is to come, see Engine::SetAdapter; else empty
  bool speculate = true;   // drafts may be proposed; they never change the answer
  // How long tokens may wait for others of the same answer before they are sent. 0: not at all.
  std::chrono::milliseconds output_interval{0};
  // Not OK when the message asked for what no field above can carry: the request is rejected with
  // it.
  absl::Status unsupported;
};

enum class FinishReason {
  kStopToken,
  kStopText,
  kMaxTokens,
  kContextFull,
  kCancelled,
  kDeadline,
  kRejected,
  kError,
  kPreempted,
};
inline constexpr int kNumFinishReasons = 9;
// "stop_token", "max_tokens", ...: for logs and metric labels.
const char* FinishReasonName(FinishReason reason);

struct Usage {
  int32_t prompt_tokens = 0;
  int32_t cached_prompt_tokens = 0;
  int32_t output_tokens = 0;  // generated_token_ids included
  int32_t preemptions = 0;
  int64_t queue_us = 0;
  int64_t prefill_us = 0;
};

struct Finish {
  FinishReason reason = FinishReason::kError;
  absl::Status status;  // with kRejected and kError
  int32_t stop_token_id = -1;
  Usage usage;
  float cumulative_logprob = 0.0f;  // 0 unless logprobs or beams asked for it
};

struct TokenLogprobs {
  float logprob = 0.0f;
  std::vector<TopLogprob> top;
};

// What one answer to one request got in one step.
struct SequenceOutput {
  uint64_t sequence_id = 0;
  int32_t sample_index = 0;
  std::vector<int32_t> token_ids;
  std::vector<TokenLogprobs> logprobs;  // one per token id, when asked for
  // With sample 0's first output, when asked for: one per prompt token; the first token follows
  // nothing and has logprob 0 and no alternatives.
  std::vector<TokenLogprobs> prompt_logprobs;
  std::optional<Finish> finish;  // nothing follows it
  int32_t cached_prompt_tokens = 0;
  std::chrono::milliseconds interval{0};  // the request's output_interval
};

// Where a session's outputs go.
class SessionSink {
 public:
  virtual ~SessionSink() = default;
  // All outputs of this session in one step; the sink may move from them. Called on the engine
  // thread: it must not block.
  virtual void OnStep(uint64_t step, std::span<SequenceOutput> outputs) = 0;
  // Every sequence_id up to this one has reached the engine's queues or was answered.
  virtual void OnAccepted(uint64_t highest_sequence_id) = 0;
};

}  // namespace pingti::worker
