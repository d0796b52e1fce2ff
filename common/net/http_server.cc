// Binding, accepting and draining. Connections are dealt to the I/O threads in turn.
#include "common/net/http_server.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <future>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/net/http_io_thread.h"

namespace pingti::net {
namespace {

namespace asio = boost::asio;
using Error = boost::system::error_code;
using Tcp = asio::ip::tcp;

// Connections past max_connections that are told so; further ones are just closed.
constexpr size_t kMaxRejected = 256;
// Wait after accept has failed, usually for want of file descriptors.
constexpr std::chrono::milliseconds kAcceptRetry{100};

std::string AddressText(const HttpServerOptions& options) {
  const bool is_v6 = options.address.find(':') != std::string::npos;
  return is_v6 ? Concat("[", options.address, "]:", options.port)
               : Concat(options.address, ":", options.port);
}

absl::Status Listen(Tcp::acceptor& acceptor, const HttpServerOptions& options) {
  Error error;
  const asio::ip::address address = asio::ip::make_address(options.address, error);
  if (error) {
    return absl::InvalidArgumentError(
        Concat("address '", options.address, "': expected an IPv4 or IPv6 address"));
  }
  const Tcp::endpoint endpoint(address, options.port);
  acceptor.open(endpoint.protocol(), error);
  if (!error && address.is_v6()) acceptor.set_option(asio::ip::v6_only(false), error);
  if (!error) acceptor.set_option(Tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error == asio::error::address_in_use) {
    return absl::FailedPreconditionError(
        Concat("address ", AddressText(options), " is already in use"));
  }
  if (error) {
    return absl::FailedPreconditionError(
        Concat("address ", AddressText(options), " cannot be listened on: ", error.message()));
  }
  return absl::OkStatus();
}

class Server final : public HttpServer {
 public:
  Server(HttpServerOptions options, HttpHandler handler) {
    state_.options = std::move(options);
    state_.handler = std::move(handler);
    for (int i = 0; i < state_.options.num_threads; ++i) {
      threads_.push_back(std::make_unique<HttpIoThread>(&state_));
    }
    acceptor_.emplace(threads_[0]->context());
    accept_retry_.emplace(threads_[0]->context());
  }

  ~Server() override {
    StopAccepting();
    for (const auto& thread : threads_) thread->Stop();
  }

  absl::Status Start() {
    PINGTI_RETURN_IF_ERROR(CheckTlsFiles(state_.options.tls));
    if (state_.options.tls.enabled()) {
      PINGTI_ASSIGN_OR_RETURN(state_.tls, TlsServerContext::Create(state_.options.tls));
    }
    PINGTI_RETURN_IF_ERROR(Listen(*acceptor_, state_.options));
    port_ = acceptor_->local_endpoint().port();
    Accept();
    for (const auto& thread : threads_) thread->Start();
    started_ = true;
    return absl::OkStatus();
  }

  uint16_t port() const override { return port_; }
  size_t num_connections() const override { return state_.connections.Get(); }

  std::chrono::milliseconds LongestStall() const override {
    const auto now = std::chrono::steady_clock::now();
    std::chrono::milliseconds longest{0};
    for (const auto& thread : threads_) {
      longest = std::max(longest, std::chrono::duration_cast<std::chrono::milliseconds>(
                                      now - thread->last_turn()));
    }
    return longest;
  }

  bool Drain(std::chrono::milliseconds deadline) override {
    const auto until = std::chrono::steady_clock::now() + deadline;
    state_.draining->store(true);
    StopAccepting();
    for (const auto& thread : threads_) thread->Drain();
    return state_.connections.WaitForNone(until);
  }

 private:
  // On the first I/O thread, or before it runs.
  void Accept() {
    HttpIoThread* const target = threads_[next_thread_].get();
    next_thread_ = (next_thread_ + 1) % threads_.size();
    acceptor_->async_accept(target->context(),
                            [this, target](const Error& error, Tcp::socket socket) {
                              OnAccepted(target, error, std::move(socket));
                            });
  }

  void OnAccepted(HttpIoThread* target, const Error& error, Tcp::socket socket) {
    if (!acceptor_->is_open()) return;
    if (!error) {
      const size_t others = state_.connections.Get();
      const size_t limit = state_.options.max_connections;
      if (others < limit + kMaxRejected) target->Adopt(std::move(socket), others >= limit);
    } else if (error != asio::error::connection_aborted) {
      LogWarning("connection not accepted", {{"error", error.message()}});
      accept_retry_->expires_after(kAcceptRetry);
      accept_retry_->async_wait([this](const Error& cancelled) {
        if (!cancelled && acceptor_->is_open()) Accept();
      });
      return;
    }
    Accept();
  }

  // Returns when no further connection can be adopted. Idempotent.
  void StopAccepting() {
    if (!started_ || accepting_stopped_.exchange(true)) return;
    std::promise<void> done;
    asio::post(threads_[0]->context(), [this, &done] {
      Error ignored;
      acceptor_->close(ignored);
      accept_retry_->cancel();
      done.set_value();
    });
    done.get_future().wait();
  }

  HttpServerState state_;
  std::vector<std::unique_ptr<HttpIoThread>> threads_;
  // On the first thread's context; destroyed before it.
  std::optional<Tcp::acceptor> acceptor_;
  std::optional<asio::steady_timer> accept_retry_;
  size_t next_thread_ = 0;
  uint16_t port_ = 0;
  bool started_ = false;
  std::atomic<bool> accepting_stopped_{false};
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(HttpServerOptions options,
                                                              HttpHandler handler) {
  if (options.num_threads < 1) {
    return absl::InvalidArgumentError(
        Concat("num_threads is ", options.num_threads, ": expected at least 1"));
  }
  auto server = std::make_unique<Server>(std::move(options), std::move(handler));
  PINGTI_RETURN_IF_ERROR(server->Start());
  return server;
}

}  // namespace pingti::net
