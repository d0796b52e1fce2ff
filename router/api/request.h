// One client request, whatever transport brought it, and the pieces of its answer.
//
// Plain values: router/openai and router/grpc fill a GenerationRequest and write the answer from
// ChoiceDelta and Usage; everything between them knows only these. Read next:
// router/pipeline/generation.h.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "boost/json/fwd.hpp"
#include "common/grammar/grammar_source.h"

namespace pingti::router {

// When a beam search is over that has as many finished beams as it has beams. Source: transformers'
// early_stopping, which is false, true or "never".
enum class EarlyStopping : uint8_t { kFalse, kTrue, kNever };

// What a client may say about decoding. An empty member takes the model's own default, then the
// API's (see sampling_defaults in worker.proto).
struct GenerationParams {
  // Empty: up to the end of the context. 0: only score the echoed prompt.
  std::optional<uint32_t> max_tokens;
  uint32_t min_tokens = 0;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<uint32_t> top_k;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  double presence_penalty = 0;
  double frequency_penalty = 0;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  std::vector<uint32_t> stop_token_ids;
  bool include_stop = false;  // the stop string that ended an answer is part of it
  bool ignore_eos = false;
  bool speculation = true;  // the worker may check proposed tokens; the answer is the same
  std::vector<std::pair<uint32_t, float>> logit_bias;
  uint32_t n = 1;
  std::optional<uint32_t> best_of;  // answers to draw, of which n are returned; or beams
  bool use_beam_search = false;
  uint32_t num_beams = 1;
  double length_penalty = 1;
  EarlyStopping early_stopping = EarlyStopping::kFalse;
  bool logprobs = false;
  uint32_t top_logprobs = 0;
  int32_t priority = 0;  // higher runs first

  // How many beams are searched; 1: none.
  uint32_t beams() const {
    return use_beam_search && num_beams == 1 ? best_of.value_or(n) : num_beams;
  }
  // Sequences that a worker computes for each prompt.
  uint32_t width() const { return beams() > 1 ? beams() : std::max(n, best_of.value_or(n)); }
};

// Text, or token ids that are taken as they are.
using Prompt = std::variant<std::string, std::vector<uint32_t>>;

inline constexpr size_t kMaxAffinityHintBytes = 256;

struct GenerationRequest {
  enum class Kind { kChat, kCompletion };

  Kind kind = Kind::kChat;
  std::string id;  // "chatcmpl-...", "cmpl-..."; also the request id in logs and at the worker
  std::string model;
  // What its client says of which requests belong together, at most kMaxAffinityHintBytes of it;
  // empty: nothing.
  std::string affinity_hint;
  std::string tenant;   // name of the API key, empty without keys
  double weight = 1;    // of the key's turns in the queue
  std::string network;  // the client's address, see ClientNetwork
  GenerationParams params;
  int64_t created_unix_s = 0;
  std::optional<std::chrono::steady_clock::time_point> deadline;
  // Bytes the request came in as: decides whether it is prepared on an I/O thread or on the pool.
  size_t body_bytes = 0;
  bool stream = false;  // its client reads the answer while it is made

  // kChat: what the template sees (messages, tools, chat_template_kwargs), shared because the
  // type is only declared here.
  std::shared_ptr<boost::json::object> template_context;
  bool parse_tool_calls = false;
  bool require_tool_call = false;         // the answer is nothing but calls of "tools"
  std::vector<std::string> custom_tools;  // those of "tools" that take a text, as "input"
  std::string named_tool;                 // with require_tool_call: of this one; empty: of any
  bool strict_tools = false;        // some tool's arguments must follow its schema, also unforced
  bool parallel_tool_calls = true;  // false: the answer ends with its first call
  std::optional<uint32_t> thinking_budget;  // tokens after which a thought is ended

  // What the answer must look like, and the field that said so; empty: free text.
  std::optional<grammar::GrammarSource> grammar;
  std::string grammar_field;

  // kCompletion: one or more prompts; choice index = prompt * n + sample.
  std::vector<Prompt> prompts;
  bool echo = false;
  std::optional<std::string> suffix;  // the text after the place where the model writes

  // Who takes turns with others: an API key, and where none are asked for, a client's network.
  const std::string& line() const { return tenant.empty() ? network : tenant; }
  // Takes a hint, cut to its limit, unless there is one already.
  void OfferAffinityHint(std::string_view hint) {
    if (affinity_hint.empty()) affinity_hint = hint.substr(0, kMaxAffinityHintBytes);
  }
  bool is_constrained() const { return grammar.has_value() || require_tool_call; }
  size_t num_prompts() const { return kind == Kind::kChat ? 1 : prompts.size(); }
  // Of the answer.
  size_t num_choices() const { return num_prompts() * params.n; }
  // At workers.
  size_t num_sequences() const { return num_prompts() * params.width(); }
};

struct TopLogprob {
  std::string bytes;
  float logprob = 0;
};

struct TokenLogprob {
  std::string bytes;
  float logprob = 0;
  bool has_logprob = true;  // false: a prompt's first token, which nothing precedes
  size_t text_offset = 0;   // in the choice's text, for /v1/completions
  std::vector<TopLogprob> top{};
};

struct ToolCallDelta {
  uint32_t index = 0;
  std::string id;  // with name: only in a call's first delta
  std::string name;
  std::string arguments;   // the next piece of the JSON text
  bool is_custom = false;  // `arguments` is the text for a custom tool, whole
};

enum class FinishReason { kNone, kStop, kLength, kToolCalls };

// "stop", "length", "tool_calls"; empty for kNone.
std::string_view FinishReasonName(FinishReason reason);

// What one choice gained.
struct ChoiceDelta {
  uint32_t index = 0;
  std::string content{};
  std::string reasoning{};
  std::vector<ToolCallDelta> tool_calls{};
  std::vector<TokenLogprob> logprobs{};
  FinishReason finish = FinishReason::kNone;
  std::string matched_stop{};  // with finish: the stop string that ended it, if one did

  bool empty() const {
    return content.empty() && reasoning.empty() && tool_calls.empty() && logprobs.empty() &&
           finish == FinishReason::kNone;
  }
};

struct UsageCounts {
  uint32_t prompt_tokens = 0;
  uint32_t cached_prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  uint32_t reasoning_tokens = 0;
};

// Where an answer goes. Called in order and never by two threads at once, on whichever thread moved
// the request on; must not block. Ends with exactly one OnDone or OnError.
class ResponseSink {
 public:
  virtual ~ResponseSink() = default;
  // False: the client is gone; the request is then cancelled.
  virtual bool OnDelta(ChoiceDelta delta) = 0;
  virtual void OnDone(const UsageCounts& usage) = 0;
  virtual void OnError(const absl::Status& status) = 0;
  // Nothing was sent for a while; the request waits in a queue or for a long prefill.
  virtual void OnKeepAlive() = 0;
};

}  // namespace pingti::router
