// One thread that calls a function at a steady pace: deadlines, keep-alives, queue timeouts.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

#include "common/base/mutex.h"

namespace pingti::router {

// Thread-safe. The destructor waits for a call under way and joins.
class Ticker {
 public:
  Ticker(std::chrono::milliseconds period, std::function<void()> tick);
  ~Ticker();

 private:
  Mutex mutex_;
  CondVar stop_requested_;
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace pingti::router
