// The synchronous client runs an event loop of its own on the caller's thread, one asynchronous
// step at a time, so that every wait can time out and be cancelled from another thread.
#include "common/net/http_client.h"

#include <netinet/tcp.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <charconv>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/net/http_body.h"

namespace pingti::net {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using Error = boost::system::error_code;
using Tcp = asio::ip::tcp;

std::string RequestText(const HttpClientRequest& request, const HttpUrl& url) {
  const bool is_v6 = url.host.find(':') != std::string::npos;
  std::string out = Concat(request.method, " ", url.target, " HTTP/1.1\r\nHost: ", is_v6 ? "[" : "",
                           url.host, is_v6 ? "]" : "", ":", url.port, "\r\n");
  for (const auto& [name, value] : request.headers) out += Concat(name, ": ", value, "\r\n");
  if (!request.body.empty() || request.method == "POST" || request.method == "PUT") {
    out += Concat("Content-Length: ", request.body.size(), "\r\n");
  }
  return Concat(out, "Connection: close\r\n\r\n", request.body);
}

// One request from connect to the last byte.
class Call {
 public:
  Call(const HttpClientOptions& options, HttpUrl url)
      : options_(options), url_(std::move(url)), resolver_(context_), socket_(context_) {}

  absl::StatusOr<HttpResponse> Run(const HttpClientRequest& request,
                                   const std::function<bool(std::string_view)>& on_body) {
    PINGTI_RETURN_IF_ERROR(Connect());
    const std::string text = RequestText(request, url_);
    PINGTI_RETURN_IF_ERROR(Step(options_.read_timeout, "sending to", [&](auto done) {
      if (tls_.has_value()) {
        asio::async_write(*tls_, asio::buffer(text), done);
      } else {
        asio::async_write(socket_, asio::buffer(text), done);
      }
    }));
    return Read(request.method == "HEAD", on_body);
  }

  // From any thread.
  void Cancel() {
    asio::post(context_, [this] {
      cancelled_ = true;
      Abort();
    });
  }

 private:
  void Abort() {
    resolver_.cancel();
    Error ignored;
    socket_.close(ignored);
  }

  std::string Peer() const { return Concat(url_.host, ":", url_.port); }

  // Starts an operation and runs the loop until it is done, cancelled, or out of time.
  template <typename Start>
  absl::Status Step(std::chrono::milliseconds timeout, std::string_view what, Start start) {
    context_.restart();
    std::optional<Error> result;
    start([&](const Error& error, auto&&...) { result = error; });
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (!result && std::chrono::steady_clock::now() < deadline) {
      context_.run_one_until(deadline);
    }
    const bool timed_out = !result;
    if (timed_out) Abort();
    while (!result) context_.run_one();
    context_.poll();  // a Cancel that came meanwhile
    if (cancelled_) return absl::CancelledError(Concat("request to ", Peer(), " was cancelled"));
    if (timed_out) {
      return absl::DeadlineExceededError(
          Concat(what, " ", Peer(), ": nothing within ", timeout.count(), " ms"));
    }
    last_error_ = *result;
    // Many servers end a connection without TLS's good-bye; the framing says whether all came.
    if (last_error_ == asio::ssl::error::stream_truncated) last_error_ = asio::error::eof;
    if (!last_error_ || last_error_ == asio::error::eof) return absl::OkStatus();
    return absl::UnavailableError(Concat(what, " ", Peer(), ": ", last_error_.message()));
  }

  absl::Status Connect() {
    Tcp::resolver::results_type endpoints;
    PINGTI_RETURN_IF_ERROR(Step(options_.connect_timeout, "looking up", [&](auto done) {
      resolver_.async_resolve(url_.host, Concat(url_.port),
                              [&endpoints, done](const Error& error, auto results) mutable {
                                endpoints = results;
                                done(error);
                              });
    }));
    PINGTI_RETURN_IF_ERROR(Step(options_.connect_timeout, "connecting to",
                                [&](auto done) { asio::async_connect(socket_, endpoints, done); }));
    KeepAlive();
    return url_.tls ? StartTls() : absl::OkStatus();
  }

  // A peer whose machine is gone is noticed although nothing is sent to it.
  void KeepAlive() {
    Error ignored;
    socket_.set_option(asio::socket_base::keep_alive(true), ignored);
    const auto set = [&](int name, int value) {
      ::setsockopt(socket_.native_handle(), IPPROTO_TCP, name, &value, sizeof(value));
    };
    set(TCP_KEEPIDLE, 30);   // seconds
    set(TCP_KEEPINTVL, 10);  // seconds
    set(TCP_KEEPCNT, 3);
  }

  absl::Status StartTls() {
    Error error;
    tls_context_.set_verify_mode(asio::ssl::verify_peer, error);
    if (options_.ca_file.empty()) {
      tls_context_.set_default_verify_paths(error);
    } else {
      tls_context_.load_verify_file(options_.ca_file, error);
    }
    if (error) {
      return absl::NotFoundError(
          Concat("CA file '", options_.ca_file, "' cannot be used: ", error.message()));
    }
    tls_.emplace(socket_, tls_context_);
    tls_->set_verify_callback(asio::ssl::host_name_verification(url_.host), error);
    asio::ip::make_address(url_.host, error);
    if (error) SSL_set_tlsext_host_name(tls_->native_handle(), url_.host.c_str());  // a name
    PINGTI_RETURN_IF_ERROR(Step(options_.connect_timeout, "starting TLS with", [&](auto done) {
      tls_->async_handshake(asio::ssl::stream_base::client, done);
    }));
    if (!last_error_) return absl::OkStatus();
    return absl::UnavailableError(Concat(Peer(), " closed the connection before TLS began"));
  }

  absl::StatusOr<HttpResponse> Read(bool head_only,
                                    const std::function<bool(std::string_view)>& on_body) {
    http::response_parser<HttpBody> parser;
    parser.eager(true);
    parser.skip(head_only);
    parser.body_limit(boost::none);
    std::string input;
    char piece[16 << 10];
    while (!parser.is_done()) {
      size_t length = 0;
      PINGTI_RETURN_IF_ERROR(Step(options_.read_timeout, "reading from", [&](auto done) {
        auto on_read = [&length, done](const Error& error, size_t count) mutable {
          length = count;
          done(error);
        };
        if (tls_.has_value()) {
          tls_->async_read_some(asio::buffer(piece), on_read);
        } else {
          socket_.async_read_some(asio::buffer(piece), on_read);
        }
      }));
      input.append(piece, length);
      PINGTI_RETURN_IF_ERROR(Parse(parser, input, last_error_ == asio::error::eof));
      PINGTI_RETURN_IF_ERROR(HandOver(parser, on_body));
    }
    return Result(parser);
  }

  absl::Status Parse(http::response_parser<HttpBody>& parser, std::string& input, bool at_end) {
    Error error;
    while (!input.empty() && !parser.is_done() && !error) {
      input.erase(0, parser.put(asio::buffer(input), error));
    }
    if (error == http::error::need_more) error = {};
    if (!error && at_end && !parser.is_done()) {
      if (!parser.got_some()) {
        return absl::UnavailableError(Concat(Peer(), " closed the connection without an answer"));
      }
      parser.put_eof(error);
      if (error == http::error::partial_message) {
        return absl::UnavailableError(Concat(Peer(), " closed the connection within its answer"));
      }
    }
    if (!error) return absl::OkStatus();
    return absl::UnavailableError(Concat("malformed answer from ", Peer(), ": ", error.message()));
  }

  // Passes on what there is of a streamed body, or bounds what is kept of one that is not.
  absl::Status HandOver(http::response_parser<HttpBody>& parser,
                        const std::function<bool(std::string_view)>& on_body) {
    if (!parser.is_header_done()) return absl::OkStatus();
    std::string& body = parser.get().body();
    const bool streamed = on_body && parser.get().result_int() / 100 == 2;
    if (!streamed) {
      if (body.size() <= options_.max_body_bytes) return absl::OkStatus();
      return absl::ResourceExhaustedError(
          Concat("answer from ", Peer(), " is larger than ", options_.max_body_bytes, " bytes"));
    }
    const bool go_on = body.empty() || on_body(body);
    body.clear();
    if (go_on) return absl::OkStatus();
    return absl::CancelledError(Concat("request to ", Peer(), " was cancelled"));
  }

  static HttpResponse Result(http::response_parser<HttpBody>& parser) {
    auto& message = parser.get();
    HttpResponse response;
    response.status = static_cast<int>(message.result_int());
    for (const auto& field : message) {
      const auto name = field.name_string();
      const auto value = field.value();
      response.headers.emplace_back(std::string(name.data(), name.size()),
                                    std::string(value.data(), value.size()));
    }
    const auto type = message[http::field::content_type];
    response.content_type = std::string(type.data(), type.size());
    response.body = std::move(message.body());
    return response;
  }

  const HttpClientOptions& options_;
  const HttpUrl url_;
  asio::io_context context_;
  Tcp::resolver resolver_;
  Tcp::socket socket_;
  asio::ssl::context tls_context_{asio::ssl::context::tls_client};
  std::optional<asio::ssl::stream<Tcp::socket&>> tls_;  // of an https URL
  bool cancelled_ = false;
  Error last_error_;
};

}  // namespace

absl::StatusOr<HttpUrl> ParseHttpUrl(std::string_view url) {
  const auto bad = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        Concat("URL '", url, "': ", why, "; expected http://host:port/path or https://"));
  };
  constexpr std::string_view kPlain = "http://";
  constexpr std::string_view kTls = "https://";
  HttpUrl parsed;
  parsed.tls = url.starts_with(kTls);
  if (parsed.tls) parsed.port = 443;
  if (!parsed.tls && !url.starts_with(kPlain)) return bad("no http:// or https:// at its start");
  std::string_view rest = url.substr(parsed.tls ? kTls.size() : kPlain.size());
  const size_t host_end = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view authority = rest.substr(0, host_end);
  parsed.target = std::string(rest.substr(host_end));
  if (!parsed.target.starts_with('/')) parsed.target.insert(0, "/");
  if (parsed.target.find_first_of(" \r\n#") != std::string::npos) return bad("malformed path");
  if (authority.find('@') != std::string_view::npos) return bad("credentials are not supported");
  size_t port_start = authority.rfind(':');
  if (authority.starts_with('[')) {
    const size_t bracket = authority.find(']');
    if (bracket == std::string_view::npos) return bad("malformed host");
    parsed.host = std::string(authority.substr(1, bracket - 1));
    if (port_start < bracket) port_start = std::string_view::npos;
  } else {
    parsed.host = std::string(authority.substr(0, port_start));
  }
  if (parsed.host.empty() || parsed.host.find_first_of(" \r\n\t") != std::string::npos) {
    return bad("malformed host");
  }
  if (port_start != std::string_view::npos) {
    const std::string_view port = authority.substr(port_start + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), parsed.port);
    if (error != std::errc() || end != port.data() + port.size() || parsed.port == 0) {
      return bad("malformed port");
    }
  }
  return parsed;
}

struct HttpClient::Impl {
  HttpClientOptions options;
  Mutex mutex;
  Call* running PINGTI_GUARDED_BY(mutex) = nullptr;
  bool closed PINGTI_GUARDED_BY(mutex) = false;
};

HttpClient::HttpClient(HttpClientOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->options = options;
}
HttpClient::~HttpClient() = default;

absl::StatusOr<HttpResponse> HttpClient::Send(const HttpClientRequest& request) {
  return SendStreaming(request, nullptr);
}

absl::StatusOr<HttpResponse> HttpClient::SendStreaming(
    const HttpClientRequest& request, std::function<bool(std::string_view)> on_body) {
  PINGTI_ASSIGN_OR_RETURN(HttpUrl url, ParseHttpUrl(request.url));
  Call call(impl_->options, std::move(url));
  {
    MutexLock lock(&impl_->mutex);
    if (impl_->closed) return absl::CancelledError("the client is closed");
    impl_->running = &call;
  }
  absl::StatusOr<HttpResponse> result = call.Run(request, on_body);
  MutexLock lock(&impl_->mutex);
  impl_->running = nullptr;
  return result;
}

void HttpClient::Cancel() {
  MutexLock lock(&impl_->mutex);
  if (impl_->running != nullptr) impl_->running->Cancel();
}

void HttpClient::Close() {
  MutexLock lock(&impl_->mutex);
  impl_->closed = true;
  if (impl_->running != nullptr) impl_->running->Cancel();
}

}  // namespace pingti::net
