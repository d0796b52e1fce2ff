// See ticker.h.
#include "router/pipeline/ticker.h"

#include <utility>

namespace pingti::router {

Ticker::Ticker(std::chrono::milliseconds period, std::function<void()> tick)
    : thread_([this, period, tick = std::move(tick)] {
        while (true) {
          const auto until = std::chrono::steady_clock::now() + period;
          {
            MutexLock lock(&mutex_);
            while (!stopping_ && stop_requested_.WaitUntil(&mutex_, until)) {
            }
            if (stopping_) return;
          }
          tick();
        }
      }) {}

Ticker::~Ticker() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    stop_requested_.NotifyAll();
  }
  thread_.join();
}

}  // namespace pingti::router
