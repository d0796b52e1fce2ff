#include "worker/backend/cpu/thread_pool.h"

#include "common/base/check.h"

namespace pingti::worker::cpu {
namespace {

// About 50 microseconds of polling before a thread sleeps.
constexpr int kSpins = 4000;
// The owner waits only for tasks that other threads hold; if one of them has lost its core, it
// yields.
constexpr int kOwnerSpins = 20000;

// A ticket: loop number (16 bits), number of tasks (24 bits), next task (24 bits).
constexpr int kTaskBits = 24;
constexpr uint64_t kTaskMask = (uint64_t{1} << kTaskBits) - 1;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  PINGTI_CHECK(num_threads >= 1);
  for (int i = 1; i < num_threads; ++i) threads_.emplace_back([this, i] { ThreadMain(i); });
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::RunErased(int64_t num_tasks, Function function, const void* context) {
  if (num_tasks <= 0) return;
  if (num_tasks == 1 || threads_.empty()) {
    for (int64_t task = 0; task < num_tasks; ++task) function(context, task, 0);
    return;
  }
  PINGTI_CHECK(num_tasks < static_cast<int64_t>(kTaskMask / 2));
  function_ = function;
  context_ = context;
  done_tasks_.store(0, std::memory_order_relaxed);
  const uint32_t round = round_.load(std::memory_order_relaxed) + 1;
  ticket_.store(
      (uint64_t{round} << (2 * kTaskBits)) | (static_cast<uint64_t>(num_tasks) << kTaskBits),
      std::memory_order_release);
  round_.store(round, std::memory_order_release);
  round_.notify_all();
  Work(0);
  // Threads that have not taken a task yet need not be waited for: they may not even be awake.
  for (int spins = 0; done_tasks_.load(std::memory_order_acquire) != num_tasks; ++spins) {
    if (spins < kOwnerSpins) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::Work(int thread) {
  while (true) {
    const uint64_t ticket = ticket_.fetch_add(1, std::memory_order_acquire);
    const uint64_t task = ticket & kTaskMask;
    if (task >= ((ticket >> kTaskBits) & kTaskMask)) return;
    function_(context_, static_cast<int64_t>(task), thread);
    done_tasks_.fetch_add(1, std::memory_order_release);
  }
}

void ThreadPool::ThreadMain(int thread) {
  uint32_t seen = 0;
  while (true) {
    for (int spins = 0; spins < kSpins && round_.load(std::memory_order_acquire) == seen; ++spins) {
      Pause();
    }
    round_.wait(seen, std::memory_order_acquire);
    seen = round_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    Work(thread);
  }
}

}  // namespace pingti::worker::cpu
