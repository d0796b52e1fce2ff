// One request's answer on its way from whatever thread makes it to the I/O thread that writes it.
//
// The application holds an HttpResponder (MakeResponder), the connection holds the exchange. A
// stream's bytes are given to the kernel by the thread that made them, as long as the connection
// has nothing else to write: an event of a stream costs no other thread's turn. What the kernel
// does not take at once, and whole answers, gather in an outbox; the connection takes all of it at
// once. Read next: http_session.h, the other side.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/mutex.h"
#include "common/net/http_server.h"
#include "common/net/http_wire.h"

namespace pingti::net {

// A buffer for output that has more is given back once it is written; one with less is used again.
inline constexpr size_t kKeptBytes = 4096;

// Thread-safe. Shared: the connection may end before the application is done with its answer, and
// the other way round.
class HttpExchange {
 public:
  struct Params {
    bool head_only = false;  // HEAD: no body goes out
    bool http_1_0 = false;   // no chunks
    bool keep_alive = true;  // the client's wish
    size_t max_unsent_bytes = 0;
    // Shared with the server, which may be gone first.
    std::shared_ptr<const std::atomic<bool>> draining;
    // Brings the connection's thread to call TakeOutput, or to close. Called with the lock held (so
    // never after Close): they only post.
    std::function<void()> post_flush;
    std::function<void()> post_abort;
    // Gives bytes to the kernel without waiting and says how many it took; where that fails it took
    // none, and the connection will see why. Called as post_flush is, on any thread. Null: only the
    // connection's own thread writes.
    std::function<size_t(std::string_view)> write_now = nullptr;
  };

  explicit HttpExchange(Params params) : params_(std::move(params)) {}

  // --- the application's side, see HttpResponder
  void Send(HttpResponse response);
  void StartStream(HttpResponse head, std::string filler, std::string_view first);
  bool Write(std::string_view bytes);
  void EndStream(std::string_view last);
  void OnClose(std::function<void()> on_close);
  // The responder is gone: unless the answer is complete, there will be none.
  void Abandon();

  // --- the connection's side, on its I/O thread
  struct Output {
    bool complete = false;   // nothing follows the bytes
    bool abandoned = false;  // nothing will ever come
    bool started = false;    // some bytes were handed out, now or before
    bool keep_alive = false;
  };
  // Puts all that waits into `bytes`, which is empty and whose buffer this goes on with. What comes
  // later calls post_flush once; a caller that does not take it then, because it still writes,
  // takes it when it has written.
  Output TakeOutput(std::string* bytes);
  // Whether a client that has closed its sending side can be asked if it still listens: then the
  // bytes that ask are in `question`, or are put into the outbox and it is empty.
  bool AskIfListening(std::string* question);
  // That many of the bytes handed out have reached the kernel.
  void OnSent(size_t num_bytes);
  // The connection goes: nothing is written to it any more. Returns what to call once it is gone:
  // on_close, if the answer was not complete, or nothing.
  std::function<void()> Close();

 private:
  enum class State { kWaiting, kStreaming, kComplete, kAbandoned, kClosed };

  // Adds bytes of a stream to the outbox. False: too many wait.
  bool Append(std::string_view bytes) PINGTI_REQUIRES(mutex_);
  // The connection has nothing to write, and nothing waits for it.
  bool CanWriteNow() const PINGTI_REQUIRES(mutex_);
  // Sends the outbox, with `now` as far as the kernel takes it.
  void SendOutbox(bool now) PINGTI_REQUIRES(mutex_);
  void ScheduleFlush() PINGTI_REQUIRES(mutex_);
  std::string Head(const HttpResponse& response, HttpFraming framing) PINGTI_REQUIRES(mutex_);

  const Params params_;
  std::atomic<size_t> unsent_bytes_{0};  // handed out and not yet sent
  Mutex mutex_;
  // What every write touches stands together: the application's thread and the connection's pass it
  // to and fro.
  State state_ PINGTI_GUARDED_BY(mutex_) = State::kWaiting;
  bool started_ PINGTI_GUARDED_BY(mutex_) = false;
  bool chunked_ PINGTI_GUARDED_BY(mutex_) = false;
  bool discard_body_ PINGTI_GUARDED_BY(mutex_) = false;
  bool overflowed_ PINGTI_GUARDED_BY(mutex_) = false;
  bool asked_ PINGTI_GUARDED_BY(mutex_) = false;  // the connection wrote a question of its own
  bool keep_alive_ PINGTI_GUARDED_BY(mutex_) = true;
  // True from the handler call, or post_flush, until the connection looks.
  bool flush_scheduled_ PINGTI_GUARDED_BY(mutex_) = true;
  std::string outbox_ PINGTI_GUARDED_BY(mutex_);
  std::string filler_ PINGTI_GUARDED_BY(mutex_);
  std::function<void()> on_close_ PINGTI_GUARDED_BY(mutex_);
};

// The application's handle; its destruction abandons the exchange.
std::shared_ptr<HttpResponder> MakeResponder(std::shared_ptr<HttpExchange> exchange);

}  // namespace pingti::net
