// A bounded first-in first-out queue between threads: any number of producers and consumers.
//
// A full queue is the caller's decision (TryPush refuses at once, Push waits until a deadline);
// Close lets consumers drain what is left and wakes everybody.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "common/base/check.h"
#include "common/base/mutex.h"

namespace pingti {

// Thread-safe. REQUIRES: nobody waits in it when it is destroyed.
template <typename T>
class BoundedQueue {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // REQUIRES: capacity > 0.
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) { PINGTI_CHECK(capacity > 0); }

  // False when full or closed; `item` is then untouched.
  bool TryPush(T&& item) {
    MutexLock lock(&mutex_);
    if (closed_ || items_.size() >= capacity_) return false;
    items_.push_back(std::move(item));
    not_empty_.NotifyOne();
    return true;
  }

  // Waits for room. False when closed or still full at `deadline`; `item` is then untouched.
  bool Push(T&& item, TimePoint deadline) {
    MutexLock lock(&mutex_);
    while (!closed_ && items_.size() >= capacity_) {
      if (!not_full_.WaitUntil(&mutex_, deadline) && items_.size() >= capacity_) return false;
    }
    if (closed_) return false;
    items_.push_back(std::move(item));
    not_empty_.NotifyOne();
    return true;
  }

  // Waits for an item. Empty when closed and drained.
  std::optional<T> Pop() {
    MutexLock lock(&mutex_);
    while (items_.empty() && !closed_) not_empty_.Wait(&mutex_);
    return TakeFront();
  }

  // Waits for an item. Empty when none came before `deadline`, or closed and drained.
  std::optional<T> Pop(TimePoint deadline) {
    MutexLock lock(&mutex_);
    while (items_.empty() && !closed_) {
      if (!not_empty_.WaitUntil(&mutex_, deadline)) break;
    }
    return TakeFront();
  }

  // Refuses further items and wakes all waiters. Idempotent.
  void Close() {
    MutexLock lock(&mutex_);
    closed_ = true;
    not_empty_.NotifyAll();
    not_full_.NotifyAll();
  }

  size_t size() const {
    MutexLock lock(&mutex_);
    return items_.size();
  }
  bool closed() const {
    MutexLock lock(&mutex_);
    return closed_;
  }

 private:
  std::optional<T> TakeFront() PINGTI_REQUIRES(mutex_) {
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    not_full_.NotifyOne();
    return item;
  }

  const size_t capacity_;
  mutable Mutex mutex_;
  CondVar not_empty_;
  CondVar not_full_;
  std::deque<T> items_ PINGTI_GUARDED_BY(mutex_);
  bool closed_ PINGTI_GUARDED_BY(mutex_) = false;
};

}  // namespace pingti
