#include "tools/interrupt.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <utility>

namespace pingti::tools {
namespace {

sigset_t InterruptSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

InterruptHandler::InterruptHandler() {
  const sigset_t set = InterruptSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread([this] { Run(); });
}

InterruptHandler::~InterruptHandler() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  pthread_kill(thread_.native_handle(), SIGINT);
  thread_.join();
}

void InterruptHandler::Set(std::function<void()> action) {
  MutexLock lock(&mutex_);
  action_ = std::move(action);
}

void InterruptHandler::Run() {
  const sigset_t set = InterruptSet();
  while (true) {
    int received = 0;
    sigwait(&set, &received);
    MutexLock lock(&mutex_);
    if (stopping_) return;
    if (action_ == nullptr) {
      // The main thread may sit in a read that nothing else can end.
      [[maybe_unused]] const ssize_t written = write(STDOUT_FILENO, "\n", 1);
      _exit(130);
    }
    action_();
  }
}

}  // namespace pingti::tools
