// A small synchronous HTTP/1.1 client, with or without TLS. One request at a time, on the caller's
// thread, each on a connection of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/net/http_server.h"

namespace pingti::net {

struct HttpUrl {
  bool tls = false;    // https
  std::string host;    // without the brackets of an IPv6 address
  uint16_t port = 80;  // 443 for https
  std::string target;  // path and query, starts with '/'
};

// Errors: InvalidArgument.
absl::StatusOr<HttpUrl> ParseHttpUrl(std::string_view url);

struct HttpClientRequest {
  std::string method = "GET";
  std::string url;
  HttpHeaders headers{};
  std::string body{};
};

struct HttpClientOptions {
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds read_timeout{300'000};  // between two pieces of the answer
  size_t max_body_bytes = 64u << 20;                // of an answer that is not streamed
  // For https: certificates (PEM) that may sign the server's, read anew for each request; empty
  // takes the system's. The server's certificate must bear the URL's host.
  std::string ca_file{};
};

// Thread-compatible, except Cancel and Close, which any thread may call.
class HttpClient {
 public:
  explicit HttpClient(HttpClientOptions options = {});
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // The whole answer, whatever its status. Errors: InvalidArgument (URL), Unavailable (no
  // connection, connection lost, a certificate that does not fit), DeadlineExceeded, Cancelled,
  // ResourceExhausted (body too large), NotFound (ca_file).
  absl::StatusOr<HttpResponse> Send(const HttpClientRequest& request);

  // The same, but the body of a 2xx answer goes to `on_body` piece by piece as it arrives (and is
  // not in the result); returning false ends the request with Cancelled. Other answers come whole.
  absl::StatusOr<HttpResponse> SendStreaming(const HttpClientRequest& request,
                                             std::function<bool(std::string_view)> on_body);

  // Ends the request that is running now, if any, with Cancelled.
  void Cancel();
  // The same, and whatever is sent from now on ends so at once.
  void Close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pingti::net
