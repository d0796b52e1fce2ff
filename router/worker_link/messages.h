// What a router and a worker say to each other about sequences, as plain values. The protocol
// itself (worker.proto) is known to this folder alone: wire.h converts. Field by field the meaning
// is that of the message of the same name there.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "common/grammar/grammar_source.h"

namespace pingti::router {

// All n answers of a search come when it is over.
struct BeamParams {
  uint32_t num_beams = 1;  // 1: no search
  float length_penalty = 1;
  bool early_stopping = false;
  bool never_stop_early = false;  // stands before early_stopping
};

struct SamplingParams {
  float temperature = 1;  // 0: greedy
  float top_p = 1;
  uint32_t top_k = 0;  // 0: off
  float min_p = 0;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  float repetition_penalty = 1;
  uint64_t seed = 0;
  std::vector<std::pair<uint32_t, float>> logit_bias{};  // token id, bias
  uint32_t n = 1;                                        // answers, of a beam search
  BeamParams beam{};
};

struct StopCriteria {
  uint32_t max_tokens = 0;  // of output, resumed ones included; 0: up to the context's end
  uint32_t min_tokens = 0;
  std::vector<uint32_t> stop_token_ids;
  bool ignore_eos = false;
  std::vector<std::string> stop_texts{};  // of a beam search
};

struct LogprobParams {
  uint32_t top_logprobs = 0;
  bool prompt = false;  // also for the prompt's tokens
};

// One sequence on its way up.
struct Sequence {
  uint64_t sequence_id = 0;  // of the session; given when the sequence is placed
  std::string request_id;
  std::vector<uint32_t> prompt_token_ids;
  std::vector<uint32_t> generated_token_ids;  // output so far, when it is resumed
  SamplingParams sampling;
  StopCriteria stop;
  std::optional<LogprobParams> logprobs;
  std::optional<grammar::GrammarSource> grammar;
  int32_t priority = 0;      // higher runs first
  uint32_t deadline_ms = 0;  // from arrival at the worker; 0: none
  std::string cache_salt;
  std::string adapter;  // its id; empty: the base model
  bool speculation = true;
  // How long the worker may hold tokens back to report several steps' together. 0: not at all.
  std::chrono::milliseconds output_interval{0};
};

// Asks a worker to load or to unload an adapter.
struct AdapterChange {
  bool load = true;
  std::string name;
  std::string path;  // at the worker; to load
};

// A LoRA adapter that a worker has.
struct AdapterInfo {
  std::string id;
  std::string name;
};

struct ScoredToken {
  uint32_t token_id = 0;
  float logprob = 0;
};

// The logprob of a token that was drawn, and of the likeliest ones at its place.
struct TokenScores {
  float logprob = 0;
  std::vector<ScoredToken> top;
};

// Why a worker will say nothing more of a sequence.
struct Finish {
  enum class Reason {
    kUnspecified,
    kStopToken,  // the last of token_ids
    kMaxTokens,
    kContextFull,
    kCancelled,
    kDeadline,
    kRejected,   // never started
    kError,      // failed while running
    kPreempted,  // handed back, to be resumed elsewhere
    kStopText    // of a beam: the last of token_ids completes one
  };
  Reason reason = Reason::kUnspecified;
  uint32_t code = 0;  // absl::StatusCode, with kRejected and kError
  std::string message;
};

// "preempted".
std::string_view FinishReasonName(Finish::Reason reason);

// What one sequence gained in one step.
struct SequenceOutput {
  uint64_t sequence_id = 0;
  uint32_t sample_index = 0;                   // of which answer, below SamplingParams::n
  absl::InlinedVector<uint32_t, 4> token_ids;  // nearly always one, or a few that were guessed
  std::vector<TokenScores> logprobs;           // one per token id, when asked for
  std::vector<TokenScores> prompt_logprobs;    // once, with the first output
  uint32_t cached_prompt_tokens = 0;           // with the first output
  std::optional<Finish> finish;                // with an answer's last one
};

// All sequences of a session that moved in one engine step.
struct StepOutput {
  std::vector<SequenceOutput> outputs;
};

struct LoadReport {
  uint32_t running_sequences = 0;
  uint32_t waiting_sequences = 0;
  uint64_t waiting_uncached_tokens = 0;
  uint64_t kv_total_blocks = 0;
  uint64_t kv_leased_blocks = 0;
  double prefill_tokens_per_s = 0;
  double step_ms = 0;
  uint64_t includes_sequence_id = 0;  // the highest one that the figures include
};

// What a router may have waiting at the worker in all.
struct SubmitCredit {
  uint32_t max_waiting_sequences = 0;
  uint32_t max_waiting_tokens = 0;
};

// One change of a worker's prefix cache.
struct KvEvent {
  // An event that this router does not know changed it does not know what: that is kCleared.
  enum class Kind { kStored, kRemoved, kCleared };
  Kind kind = Kind::kCleared;
  std::vector<uint64_t> block_hashes{};  // none with kCleared
};

// Changes since the last KvEvents, in order.
struct KvEvents {
  uint64_t first_event_id = 0;  // consecutive; a gap means that changes were lost
  std::vector<KvEvent> events;
};

}  // namespace pingti::router
