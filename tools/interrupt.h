// Ctrl-C in an interactive program: stops what runs now, and the program only when nothing does.
#pragma once

#include <functional>
#include <thread>

#include "common/base/mutex.h"

namespace pingti::tools {

// Construct it before any other thread exists: it blocks SIGINT in the caller, and threads inherit
// that. Owns one thread that waits for the signal. Thread-safe. At most one may exist.
class InterruptHandler {
 public:
  InterruptHandler();
  ~InterruptHandler();
  InterruptHandler(const InterruptHandler&) = delete;
  InterruptHandler& operator=(const InterruptHandler&) = delete;

  // While set, Ctrl-C calls `action` (on this object's thread). While not set, Ctrl-C ends the
  // process with status 130. Set(nullptr) returns only when no action runs any more.
  void Set(std::function<void()> action);

 private:
  void Run();

  Mutex mutex_;
  std::function<void()> action_ PINGTI_GUARDED_BY(mutex_);
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace pingti::tools
