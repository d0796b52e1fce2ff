// Writes log lines to a file descriptor on a thread of its own, so that a reader who does not read
// holds up nobody who logs: lines wait in a bounded queue, and what finds no room there is dropped
// and counted.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <thread>

#include "common/base/mutex.h"

namespace pingti {

// Thread-safe.
class LogWriter {
 public:
  // `fd` stays the caller's. At most `max_queued_bytes` wait.
  LogWriter(int fd, size_t max_queued_bytes);
  // Gives what waits a second to leave.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // Queues the line, or drops it. Never blocks.
  void Write(std::string line);
  // Returns once all lines queued before have left; false after `patience`.
  bool Flush(std::chrono::milliseconds patience);
  uint64_t dropped() const;

 private:
  void Run();
  // Writes all of it, or gives up when the writer stops.
  void WriteOut(std::string_view line);

  const int fd_;
  const size_t max_queued_bytes_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<std::string> queue_ PINGTI_GUARDED_BY(mutex_);
  size_t queued_bytes_ PINGTI_GUARDED_BY(mutex_) = 0;
  bool writing_ PINGTI_GUARDED_BY(mutex_) = false;
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  uint64_t dropped_ PINGTI_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace pingti
