// The waiting thread takes signals with sigwait, so that no code ever runs in a signal handler.
#include "common/base/signal_waiter.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <utility>

#include "common/base/check.h"

namespace pingti {
namespace {

// SIGUSR2 is only ever sent to the waiting thread, by the destructor.
constexpr int kEndOfWaiting = SIGUSR2;

sigset_t WaitedSignals(SignalWaiter::Hangup hangup) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, kEndOfWaiting);
  if (hangup == SignalWaiter::Hangup::kIsCounted) sigaddset(&set, SIGHUP);
  return set;
}

}  // namespace

SignalWaiter::SignalWaiter(Hangup hangup) : on_hangup_(hangup) {
  const sigset_t set = WaitedSignals(on_hangup_);
  PINGTI_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  // A signal whose action is "ignore" is dropped even while it is blocked; shells start background
  // jobs with SIGINT ignored.
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
  if (on_hangup_ == Hangup::kIsCounted) ::signal(SIGHUP, SIG_DFL);  // nohup ignores it
  // A reader of ours that goes away is an error of that write, not the end of the process.
  ::signal(SIGPIPE, SIG_IGN);
  thread_ = std::thread([this] { Run(); });
}

SignalWaiter::~SignalWaiter() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  pthread_kill(thread_.native_handle(), kEndOfWaiting);
  thread_.join();
  const sigset_t set = WaitedSignals(on_hangup_);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void SignalWaiter::Run() {
  const sigset_t set = WaitedSignals(on_hangup_);
  while (true) {
    int number = 0;
    PINGTI_CHECK(sigwait(&set, &number) == 0);
    MutexLock lock(&mutex_);
    if (number == kEndOfWaiting) {
      if (stopping_) return;
      continue;
    }
    if (number == SIGHUP) {
      hangup_ = true;
      continue;
    }
    if (signal_) _exit(128 + number);
    signal_ = number;
    shutdown_ = true;
    woken_.NotifyAll();
    if (handler_) handler_();
  }
}

void SignalWaiter::OnSignal(std::function<void()> handler) {
  MutexLock lock(&mutex_);
  handler_ = std::move(handler);
  if (signal_ && handler_) handler_();
}

void SignalWaiter::Wait() {
  MutexLock lock(&mutex_);
  while (!shutdown_) woken_.Wait(&mutex_);
}

void SignalWaiter::Shutdown() {
  MutexLock lock(&mutex_);
  shutdown_ = true;
  woken_.NotifyAll();
}

std::optional<int> SignalWaiter::signal() const {
  MutexLock lock(&mutex_);
  return signal_;
}

}  // namespace pingti
