// What requests come to, naively: no queue, no workers, no mailbox; only what was said of their
// sequences, and when. Test code only.
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/router/pipeline/steered_generations.h"

namespace pingti::router {

inline constexpr int kModelAttempts = 3;
inline constexpr std::chrono::milliseconds kModelKeepAlive{500};
inline constexpr std::chrono::milliseconds kModelRequestTimeout{20'000};
inline constexpr std::chrono::milliseconds kModelQueueTimeout{3'000};
inline constexpr uint32_t kModelTokens = 12;

inline GenerationOptions ModelOptions(std::chrono::milliseconds stream_interval) {
  GenerationOptions options;
  options.request_timeout = kModelRequestTimeout;
  options.queue_timeout = kModelQueueTimeout;
  options.keep_alive = kModelKeepAlive;
  options.stream_interval = stream_interval;
  options.max_attempts = kModelAttempts;
  return options;
}

// What one sequence at a worker has come to.
struct SentSequence {
  enum class State { kRuns, kEnded, kLost, kCancelled };
  State state = State::kRuns;
  bool has_said_end = false;  // in the step that is being read
  size_t request = 0;
  size_t choice = 0;
  size_t cancels = 0;  // that the worker must have been sent
};

struct ModelChoice {
  std::string prompt;
  std::string tokens;  // so far
  std::string text;    // of them: without what stands for a stop token
  size_t sent = 0;     // of what may be shown
  std::optional<FinishReason> finish;
  bool started = false;
  bool is_queued = true;
  int failures = 0;
  std::chrono::milliseconds queued_at{0};
  bool holds = false;
  std::chrono::milliseconds sent_at{-1'000'000};
};

struct ModelRequest {
  std::shared_ptr<KeepingSink> sink;
  std::shared_ptr<ClientWatch> client;
  std::vector<std::string> stops;
  std::vector<ModelChoice> choices;
  uint64_t seed = 0;
  uint32_t n = 1;
  uint32_t prompt_tokens = 0;
  bool is_streamed = false;
  std::chrono::milliseconds arrived{0};
  std::chrono::milliseconds last_sent{0};
  int keep_alives = 0;
  bool done = false;
  std::optional<absl::StatusCode> error;
};

// Where the first stop string begins; npos: there is none.
inline size_t StopIn(const ModelRequest& request, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    for (const std::string& stop : request.stops) {
      if (text.substr(0, end).ends_with(stop)) return end - stop.size();
    }
  }
  return std::string::npos;
}

// How much of a choice's text may be shown: what may begin a stop string waits.
inline size_t Shown(const ModelRequest& request, const ModelChoice& choice) {
  const size_t stop = StopIn(request, choice.text);
  if (stop != std::string::npos) return stop;
  if (choice.finish.has_value()) return choice.text.size();
  size_t held = 0;
  for (const std::string& one : request.stops) {
    for (size_t length = 1; length < one.size(); ++length) {
      if (choice.text.ends_with(one.substr(0, length))) held = std::max(held, length);
    }
  }
  return choice.text.size() - held;
}

class GenerationModel {
 public:
  explicit GenerationModel(std::chrono::milliseconds stream_interval) : interval(stream_interval) {}

  std::vector<uint64_t> Running(const std::string& address) const {
    std::vector<uint64_t> ids;
    for (const auto& [id, sequence] : sequences) {
      if (id.first == address && sequence.state == SentSequence::State::kRuns) {
        ids.push_back(id.second);
      }
    }
    return ids;
  }

  void Read(SentSequence* sequence, const SequenceOutput& output) {
    ModelRequest& request = requests[sequence->request];
    ModelChoice& choice = request.choices[sequence->choice];
    if (sequence->state != SentSequence::State::kRuns) return;
    const bool has_tokens = !output.token_ids.empty();
    if (has_tokens) {
      choice.started = true;
      choice.failures = 0;
    }
    const bool ends_with_stop =
        output.finish.has_value() && output.finish->reason == Finish::Reason::kStopToken;
    for (size_t i = 0; i < output.token_ids.size(); ++i) {
      choice.tokens += static_cast<char>(output.token_ids[i]);
      if (ends_with_stop && i + 1 == output.token_ids.size()) break;
      choice.text += static_cast<char>(output.token_ids[i]);
      if (StopIn(request, choice.text) == std::string::npos) continue;
      Over(sequence);
      return FinishChoice(&request, &choice, FinishReason::kStop);
    }
    if (!output.finish.has_value()) return Offer(&request, &choice);
    Over(sequence);
    ReadEnd(&request, &choice, *output.finish);
  }

  void ReadEnd(ModelRequest* request, ModelChoice* choice, const Finish& finish) {
    using Reason = Finish::Reason;
    if (finish.reason == Reason::kStopToken)
      return FinishChoice(request, choice, FinishReason::kStop);
    if (finish.reason == Reason::kMaxTokens)
      return FinishChoice(request, choice, FinishReason::kLength);
    Offer(request, choice);
    if (request->done) return;
    const auto code = static_cast<absl::StatusCode>(finish.code);
    if (finish.reason == Reason::kDeadline)
      return Fail(request, absl::StatusCode::kDeadlineExceeded);
    if (code == absl::StatusCode::kInvalidArgument) return Fail(request, code);
    const bool is_orderly =
        finish.reason == Reason::kPreempted || finish.reason == Reason::kContextFull;
    TryAgain(request, choice, is_orderly);
  }

  // The sequence is not the router's any more, which says so where the worker does not know.
  static void Over(SentSequence* sequence) {
    if (sequence->state != SentSequence::State::kRuns) return;
    sequence->state = SentSequence::State::kEnded;
    if (sequence->has_said_end) return;
    sequence->state = SentSequence::State::kCancelled;
    ++sequence->cancels;
  }

  void TryAgain(ModelRequest* request, ModelChoice* choice, bool is_orderly) {
    choice->failures += is_orderly ? 0 : 1;
    if (choice->failures == kModelAttempts) return Fail(request, absl::StatusCode::kUnavailable);
    choice->is_queued = true;
    choice->queued_at = now;
  }

  void FinishChoice(ModelRequest* request, ModelChoice* choice, FinishReason reason) {
    choice->finish = reason;
    Deliver(request, choice);
    request->done |= std::all_of(request->choices.begin(), request->choices.end(),
                                 [](const ModelChoice& one) { return one.finish.has_value(); });
  }

  // What may be shown goes to the client, or is held back.
  void Offer(ModelRequest* request, ModelChoice* choice) {
    if (Shown(*request, *choice) == choice->sent) return;
    choice->holds = request->is_streamed && now < choice->sent_at + interval;
    if (!choice->holds) Deliver(request, choice);
  }

  void Deliver(ModelRequest* request, ModelChoice* choice) {
    choice->holds = false;
    choice->sent = Shown(*request, *choice);
    choice->sent_at = request->last_sent = now;
    if (request->sink->client_is_gone) Fail(request, absl::StatusCode::kCancelled);
  }

  void Fail(ModelRequest* request, absl::StatusCode code) {
    request->done = true;
    request->error = code;
    for (ModelChoice& choice : request->choices) choice.sent = Shown(*request, choice);
    for (auto& [id, sequence] : sequences) {
      if (&requests[sequence.request] == request) Over(&sequence);
    }
  }

  void Tick(ModelRequest* request) {
    if (now >= request->arrived + kModelRequestTimeout) {
      return Fail(request, absl::StatusCode::kDeadlineExceeded);
    }
    for (ModelChoice& choice : request->choices) {
      if (choice.holds && now >= choice.sent_at + interval) Deliver(request, &choice);
      if (request->done) return;
    }
    if (now - request->last_sent < kModelKeepAlive) return;
    request->last_sent = now;
    ++request->keep_alives;
  }

  const std::chrono::milliseconds interval;
  std::chrono::milliseconds now{0};
  std::vector<ModelRequest> requests;
  std::map<std::pair<std::string, uint64_t>, SentSequence> sequences;  // by worker and id
};

}  // namespace pingti::router
