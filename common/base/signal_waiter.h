// Turns SIGINT and SIGTERM into an ordinary event, also when the process is PID 1 in a container
// (where the kernel gives no default action); and SIGHUP, for programs that read files again.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <thread>

#include "common/base/mutex.h"

namespace pingti {

// Construct it in main before any other thread exists: it blocks the two signals in the calling
// thread, and threads inherit that. It also makes the process ignore SIGPIPE. Owns one thread that
// waits for them.
//
// The first signal wakes Wait; a second one ends the process at once with status 128 + signal, for
// the person who will not wait for the drain. Thread-safe. At most one may exist.
class SignalWaiter {
 public:
  enum class Hangup { kEndsTheProcess, kIsCounted };
  explicit SignalWaiter(Hangup hangup = Hangup::kEndsTheProcess);
  // Restores the calling thread's signal mask.
  ~SignalWaiter();
  SignalWaiter(const SignalWaiter&) = delete;
  SignalWaiter& operator=(const SignalWaiter&) = delete;

  // Blocks until a signal came or Shutdown was called.
  void Wait();

  // `handler` is called on the waiting thread when the first signal comes, or now when it has come;
  // null: nothing but Wait is told from now on. For work that cannot look at a waiter meanwhile.
  // The handler must not call this object.
  void OnSignal(std::function<void()> handler);

  // Wakes Wait as a signal would; for a process that has to stop for its own reasons.
  void Shutdown();

  // Whether SIGHUP came since the last call. REQUIRES: Hangup::kIsCounted.
  bool TakeHangup() { return hangup_.exchange(false); }

  // The first signal received, if any.
  std::optional<int> signal() const;

 private:
  void Run();

  mutable Mutex mutex_;
  CondVar woken_;
  const Hangup on_hangup_;
  std::atomic<bool> hangup_{false};
  std::optional<int> signal_ PINGTI_GUARDED_BY(mutex_);
  std::function<void()> handler_ PINGTI_GUARDED_BY(mutex_);
  bool shutdown_ PINGTI_GUARDED_BY(mutex_) = false;
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace pingti
