// An HTTP/1.1 server: keep-alive, pipelining-safe, streamed (chunked) responses, bounded
// everything.
//
// Owns its acceptor and `num_threads` I/O threads. Handlers run on an I/O thread and must not
// block: they keep the responder and answer from any thread. Used by the router's API and by every
// process's admin port. The implementation is Boost.Beast; nothing of it shows here.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/memory_budget.h"
#include "common/net/tls.h"

namespace pingti::net {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  // upper case
  std::string path;    // percent-decoded, without the query
  std::string query;   // raw, after '?'
  HttpHeaders headers{};
  std::string body{};
  std::string remote_address;
  // What the body takes of HttpServerOptions::body_budget. Whoever lets go of the body early lets
  // go of this too.
  std::shared_ptr<MemoryBudget::Lease> body_lease{};

  // First header of that name, compared without case; empty when absent.
  std::string_view Header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  HttpHeaders headers{};
  std::string body{};
};

// The answer to one request. Thread-safe. Exactly one of Send or StartStream..EndStream is used; an
// answer dropped without either closes the connection with a 500.
class HttpResponder {
 public:
  virtual ~HttpResponder() = default;

  virtual void Send(HttpResponse response) = 0;

  // Starts a response of unknown length (chunked transfer coding). `head.body` is ignored by
  // contract: it must be empty. `filler`: bytes that mean nothing in this kind of stream, as a
  // comment does between server-sent events, and may be written at any time; empty: there are none.
  // `first`: bytes that go out with the head.
  virtual void StartStream(HttpResponse head, std::string filler = "",
                           std::string_view first = "") = 0;
  // Sends what the kernel takes at once, on this thread, and queues the rest; never waits. False
  // when the client is gone or more than max_stream_buffer_bytes wait for a client that does not
  // read: the stream is then closed and on_close called.
  virtual bool Write(std::string_view bytes) = 0;
  // `last`: bytes that go out with the end.
  virtual void EndStream(std::string_view last = "") = 0;

  // Called once, on an I/O thread, when the connection ends before the answer was complete. Set it
  // before returning from the handler. Not called after a complete answer. A client that has only
  // closed its sending side still gets its answer: it is taken for gone once bytes that are sent to
  // it come back (an interim response or the filler asks), or where nothing can be sent.
  virtual void OnClose(std::function<void()> on_close) = 0;
};

using HttpHandler = std::function<void(HttpRequest, std::shared_ptr<HttpResponder>)>;

struct HttpServerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;  // 0: any free port, see HttpServer::port
  int num_threads = 1;
  TlsFiles tls{};
  size_t max_header_bytes = 64u << 10;
  size_t max_body_bytes = 100u << 20;
  // For all bodies that are being read or worked on, four bytes for each of theirs; a request whose
  // body finds no room gets 503. It outlives the server. Null: only max_body_bytes holds.
  MemoryBudget* body_budget = nullptr;
  size_t max_connections = 16384;
  size_t max_stream_buffer_bytes = 4u << 20;
  std::chrono::milliseconds header_timeout{10'000};  // from accept or last answer's next byte
  std::chrono::milliseconds body_timeout{60'000};
  std::chrono::milliseconds idle_timeout{75'000};   // keep-alive
  std::chrono::milliseconds write_timeout{60'000};  // no progress
  // Looks at a request whose header is there and whose body is not read yet: `body` is empty. An
  // answer is sent at once and ends the connection, so that who may not ask costs nothing. Called
  // on an I/O thread. Null: every request is read.
  std::function<std::optional<HttpResponse>(const HttpRequest& head)> refuse = nullptr;
  // Answers for what never reaches the handler (400, 408, 413, 431, 503), so that an API keeps its
  // own error shape. Null: plain text.
  std::function<HttpResponse(int status, std::string_view reason)> protocol_error = nullptr;
};

class HttpServer {
 public:
  // Errors: FailedPrecondition "address 127.0.0.1:8080 is already in use", InvalidArgument for an
  // address that does not parse; those of CheckTlsFiles.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(HttpServerOptions options,
                                                           HttpHandler handler);
  // Stops at once and joins.
  virtual ~HttpServer() = default;

  virtual uint16_t port() const = 0;
  virtual size_t num_connections() const = 0;
  // How long the least lively I/O thread has not come around. A thread that works comes around many
  // times a second.
  virtual std::chrono::milliseconds LongestStall() const = 0;

  // Accepts no more connections, answers what is in flight with "Connection: close", closes idle
  // connections. Returns when all are gone or the deadline passes; true when all were answered.
  virtual bool Drain(std::chrono::milliseconds deadline) = 0;
};

}  // namespace pingti::net
