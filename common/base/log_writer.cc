// A descriptor of a pipe takes what poll() says it takes: pieces of at most PIPE_BUF bytes never
// block then, so that the thread can always be stopped.
#include "common/base/log_writer.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

namespace pingti {
namespace {

constexpr int kPollMs = 100;
constexpr std::chrono::milliseconds kFarewell{1000};

}  // namespace

LogWriter::LogWriter(int fd, size_t max_queued_bytes)
    : fd_(fd), max_queued_bytes_(max_queued_bytes), thread_([this] { Run(); }) {}

LogWriter::~LogWriter() {
  Flush(kFarewell);
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void LogWriter::Write(std::string line) {
  MutexLock lock(&mutex_);
  if (line.size() > max_queued_bytes_ - queued_bytes_) {
    ++dropped_;
    return;
  }
  queued_bytes_ += line.size();
  queue_.push_back(std::move(line));
  changed_.NotifyAll();
}

bool LogWriter::Flush(std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  MutexLock lock(&mutex_);
  while (!queue_.empty() || writing_) {
    if (!changed_.WaitUntil(&mutex_, deadline)) return queue_.empty() && !writing_;
  }
  return true;
}

uint64_t LogWriter::dropped() const {
  MutexLock lock(&mutex_);
  return dropped_;
}

void LogWriter::Run() {
  while (true) {
    std::string line;
    {
      MutexLock lock(&mutex_);
      while (queue_.empty() && !stopping_) changed_.Wait(&mutex_);
      if (stopping_) return;
      line = std::move(queue_.front());
      queue_.pop_front();
      writing_ = true;
    }
    WriteOut(line);
    MutexLock lock(&mutex_);
    writing_ = false;
    queued_bytes_ -= line.size();
    changed_.NotifyAll();
  }
}

void LogWriter::WriteOut(std::string_view line) {
  while (!line.empty()) {
    pollfd ready{.fd = fd_, .events = POLLOUT, .revents = 0};
    const int polled = ::poll(&ready, 1, kPollMs);
    if (polled < 0 && errno != EINTR) return;
    if (polled <= 0) {
      MutexLock lock(&mutex_);
      if (stopping_) return;
      continue;
    }
    if ((ready.revents & (POLLERR | POLLNVAL)) != 0) return;  // nobody reads any more
    const ssize_t written = ::write(fd_, line.data(), std::min<size_t>(line.size(), PIPE_BUF));
    if (written < 0 && errno != EINTR && errno != EAGAIN) return;
    if (written > 0) line.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace pingti
