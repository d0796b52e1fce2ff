// Tells when the other side of a connection has been silent for too long.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

#include "common/base/mutex.h"

namespace pingti::worker {

struct GroupPatience {
  std::chrono::milliseconds sign_interval{250};  // between a process's signs of life
  std::chrono::milliseconds silence{1'500};      // after which the other is taken for lost
};
// With these a process that stops is taken for lost within `timeout`, signs and looks for them
// being some time apart.
GroupPatience PatienceFor(std::chrono::milliseconds timeout);

// Thread-safe; has a thread of its own.
class SilenceWatch {
 public:
  // `on_silence` is called at most once, on the watch's thread, with how long nothing was heard. A
  // round in which this process itself stood still counts for nothing.
  SilenceWatch(const GroupPatience& patience,
               std::function<void(std::chrono::milliseconds)> on_silence);
  // Waits for a call of on_silence in progress.
  ~SilenceWatch();

  void Heard();

 private:
  void Watch();

  const GroupPatience patience_;
  const std::function<void(std::chrono::milliseconds)> on_silence_;
  Mutex mutex_;
  CondVar ended_;
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  bool heard_ PINGTI_GUARDED_BY(mutex_) = true;
  std::thread thread_;
};

// Calls `sign` at regular times, on a thread of its own, until it returns false or this ends.
class SignsOfLife {
 public:
  SignsOfLife(std::chrono::milliseconds interval, std::function<bool()> sign);
  ~SignsOfLife();

 private:
  void Run();

  const std::chrono::milliseconds interval_;
  const std::function<bool()> sign_;
  Mutex mutex_;
  CondVar ended_;
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace pingti::worker
