// What is told of a request's life, from its arrival to its last byte. Metrics, the access log and,
// later, traces are observers; nothing else counts or logs requests.
//
// A RequestWatcher lives as long as the process and makes one RequestObserver per request, which
// keeps what it needs between two events (handles of metrics, the beginning of a span). Events of a
// request come one at a time, in order, on the thread where they happen: an observer needs no lock
// and must not block. Read next: request_life.h, which tells them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "router/api/request.h"

namespace pingti::router {

using TimePoint = std::chrono::steady_clock::time_point;

enum class Transport { kHttp, kGrpc };

// Who asks for what. `model` is known once the request is read.
struct RequestInfo {
  Transport transport = Transport::kHttp;
  std::string_view endpoint{};  // "/v1/chat/completions", "pingti.v1.Inference/Chat": a constant
  std::string id{};             // in logs and the answer's header: the client's own, if it sent one
  std::string answer_id{};      // "chatcmpl-...": also the request id at the worker
  std::string trace_parent{};   // of the client (W3C Trace Context), empty: none
  std::string tenant{};         // name of the API key
  std::string tenant_class{};   // of that key; empty: it is not known who asks
  std::string model{};          // as the client wrote it, cut if it is long
  TimePoint received{};
  // Within which the first token should come; zero: that was not said.
  std::chrono::milliseconds first_token_objective{0};
};

// The model exists and a worker serves it.
struct RequestAccepted {
  TimePoint at;
  std::string_view model;     // as the client wrote it: the id or an alias
  std::string_view model_id;  // what serves it
};
struct RequestTokenized {
  TimePoint at;
  uint64_t prompt_tokens;
};
// A choice waits for a worker, for the first time or again.
struct SequenceQueued {
  TimePoint at;
  size_t choice;
};
struct SequencePlaced {
  TimePoint at;
  size_t choice;
  std::string_view worker;  // its address, as logs and metrics name it
  TimePoint queued_at;
};
struct TokensArrived {
  TimePoint at;
  size_t choice;
  size_t num_tokens;
  std::optional<TimePoint> previous;  // of the choice's tokens before these; none: its first
};
// A choice lost its worker and is queued again with the tokens it has; a search with beams begins
// again from its prompt.
struct SequenceResumed {
  TimePoint at;
  size_t choice;
  size_t tokens_so_far;
  bool from_prompt;
  absl::Status why;
};
struct RequestEnded {
  TimePoint at;
  absl::Status status;
  std::string code;  // HTTP status or name of the gRPC code
  UsageCounts usage;
};

// One request's. An observer overrides what it wants to hear.
class RequestObserver {
 public:
  virtual ~RequestObserver() = default;
  virtual void OnAccepted(const RequestInfo&, const RequestAccepted&) {}
  virtual void OnTokenized(const RequestInfo&, const RequestTokenized&) {}
  virtual void OnQueued(const RequestInfo&, const SequenceQueued&) {}
  virtual void OnPlaced(const RequestInfo&, const SequencePlaced&) {}
  // Only for those whose hears_tokens says so: with every token of every stream, a call that does
  // nothing counts.
  virtual void OnTokens(const RequestInfo&, const TokensArrived&) {}
  virtual bool hears_tokens() const { return false; }
  virtual void OnResumed(const RequestInfo&, const SequenceResumed&) {}
  virtual void OnEnded(const RequestInfo&, const RequestEnded&) {}
};

// Thread-safe.
class RequestWatcher {
 public:
  virtual ~RequestWatcher() = default;
  virtual std::unique_ptr<RequestObserver> OnReceived(const RequestInfo& request) = 0;
};

}  // namespace pingti::router
