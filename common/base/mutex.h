// A mutex, its lock and its condition variable, annotated for clang's -Wthread-safety: a member
// marked PINGTI_GUARDED_BY(mutex_) that is touched without the lock does not compile there.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "common/base/thread_annotations.h"

namespace pingti {

// Thread-safe; not recursive.
class PINGTI_CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() PINGTI_ACQUIRE() { mutex_.lock(); }
  void Unlock() PINGTI_RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

// Holds the mutex for a scope.
class PINGTI_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) PINGTI_ACQUIRE(mutex) : mutex_(mutex) { mutex_->Lock(); }
  ~MutexLock() PINGTI_RELEASE() { mutex_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mutex_;
};

// Wait in a loop that tests the condition: wake-ups may be spurious. (Loops, not predicates: the
// thread-safety analysis does not see into lambdas.)
class CondVar {
 public:
  CondVar() = default;
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  void Wait(Mutex* mutex) PINGTI_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }

  // False when `deadline` has passed; the mutex is held again in either case.
  bool WaitUntil(Mutex* mutex, std::chrono::steady_clock::time_point deadline)
      PINGTI_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
    const bool in_time = condition_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return in_time;
  }

  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace pingti
