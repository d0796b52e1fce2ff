// One I/O thread of the HTTP server with its event loop and the connections that live on it.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <thread>
#include <unordered_set>
#include <vector>

#include "common/base/mutex.h"
#include "common/net/http_server.h"

namespace pingti::net {

class HttpSession;

// Counts connections; lets the drain wait for the last one. Thread-safe.
class ConnectionCount {
 public:
  void Add();
  void Remove();
  size_t Get() const;
  // False when some are left at `deadline`.
  bool WaitForNone(std::chrono::steady_clock::time_point deadline);

 private:
  mutable Mutex mutex_;
  CondVar none_;
  size_t count_ PINGTI_GUARDED_BY(mutex_) = 0;
};

// What all threads of a server share; outlives them.
struct HttpServerState {
  HttpServerOptions options;
  HttpHandler handler;
  std::unique_ptr<TlsServerContext> tls;  // null: plain HTTP
  std::shared_ptr<std::atomic<bool>> draining = std::make_shared<std::atomic<bool>>(false);
  ConnectionCount connections;
};

// Start, Stop, Adopt, Drain and what says so are thread-safe; the rest is confined to the thread it
// runs.
class HttpIoThread {
 public:
  explicit HttpIoThread(HttpServerState* state);
  // Stops and joins.
  ~HttpIoThread();
  HttpIoThread(const HttpIoThread&) = delete;
  HttpIoThread& operator=(const HttpIoThread&) = delete;

  void Start();
  // Closes all connections, ends the loop and joins. Idempotent.
  void Stop();
  // Takes over an accepted connection made on context().
  void Adopt(boost::asio::ip::tcp::socket socket, bool reject);
  void Drain();
  // Thread-safe: calls the session's Flush on this thread. Sessions that ask until the thread comes
  // around share one turn of its loop, and one wake-up. REQUIRES: it is not forgotten yet.
  void RequestFlush(HttpSession* session);
  // Thread-safe: when the loop came around last.
  std::chrono::steady_clock::time_point last_turn() const {
    return std::chrono::steady_clock::time_point(
        std::chrono::steady_clock::duration(last_turn_.load(std::memory_order_relaxed)));
  }

  boost::asio::io_context& context() { return context_; }

  // --- for sessions, on this thread
  HttpServerState& state() { return *state_; }
  // Where all of this thread's sessions read to.
  std::array<char, 64 << 10>& scratch() { return scratch_; }
  void Forget(const std::shared_ptr<HttpSession>& session);

 private:
  void Turn();
  void FlushRequested();

  HttpServerState* const state_;
  std::array<char, 64 << 10> scratch_;
  std::unordered_set<std::shared_ptr<HttpSession>> sessions_;
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  boost::asio::steady_timer turn_timer_;
  std::atomic<std::chrono::steady_clock::rep> last_turn_{0};
  Mutex mutex_;
  std::vector<HttpSession*> to_flush_ PINGTI_GUARDED_BY(mutex_);
  std::vector<HttpSession*> flushing_;  // by FlushRequested; null: forgotten meanwhile
  std::thread thread_;
};

}  // namespace pingti::net
