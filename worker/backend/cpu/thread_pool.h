// A fixed set of threads that work on one parallel loop at a time, for the CPU backend alone.
//
// Idle threads spin for a short while, because a decode step is hundreds of loops a few
// microseconds apart, then sleep, so that an idle worker costs nothing.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace pingti::worker::cpu {

// Confined to the thread that made it, which takes part in every loop. The destructor joins.
class ThreadPool {
 public:
  // REQUIRES: num_threads >= 1; the calling thread counts as one.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls body(task, thread) for every task in [0, num_tasks) and returns when all are done. Tasks
  // are handed out in ascending order as threads become free. `body` must not call Run.
  template <typename Body>
  void Run(int64_t num_tasks, const Body& body) {
    RunErased(
        num_tasks,
        [](const void* context, int64_t task, int thread) {
          (*static_cast<const Body*>(context))(task, thread);
        },
        &body);
  }

  // body(row) for every row in [0, num_rows), for work so cheap that a few rows are not worth
  // waking a thread for.
  template <typename Body>
  void RunRows(int64_t num_rows, const Body& body) {
    constexpr int64_t kRowsPerTask = 8;
    Run((num_rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
      const int64_t end = std::min(num_rows, (task + 1) * kRowsPerTask);
      for (int64_t row = task * kRowsPerTask; row < end; ++row) body(row);
    });
  }

 private:
  using Function = void (*)(const void* context, int64_t task, int thread);

  void RunErased(int64_t num_tasks, Function function, const void* context);
  void ThreadMain(int thread);
  void Work(int thread);

  // The current loop. Read only by a thread that holds one of its tasks, which keeps it in place.
  Function function_ = nullptr;
  const void* context_ = nullptr;

  // Loop number, number of tasks and next task in one word (see the .cc file), so that a thread
  // that comes late takes a task of the loop it sees or none.
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<int64_t> done_tasks_{0};
  alignas(64) std::atomic<uint32_t> round_{0};  // a change wakes the threads
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

}  // namespace pingti::worker::cpu
