// See task_pool.h.
#include "router/pipeline/task_pool.h"

#include <algorithm>
#include <utility>

#include "router/api/api_error.h"

namespace pingti::router {

TaskPool::TaskPool(int num_threads, size_t capacity) : long_(capacity), very_long_(capacity) {
  Run(std::max(1, num_threads - num_threads / 2), &long_);
  Run(std::max(1, num_threads / 2), &very_long_);
}

void TaskPool::Run(int num_threads, Queue* tasks) {
  for (int i = 0; i < num_threads; ++i) {
    threads_.emplace_back([tasks] {
      while (auto task = tasks->Pop()) (*task)();
    });
  }
}

TaskPool::~TaskPool() {
  long_.Close();
  very_long_.Close();
  for (std::thread& thread : threads_) thread.join();
}

bool TaskPool::TryPost(TaskLength length, std::function<void()> task) {
  return (length == TaskLength::kLong ? long_ : very_long_).TryPush(std::move(task));
}

absl::Status PoolFull() {
  return WithRetryAfter(
      ApiError(absl::StatusCode::kResourceExhausted, "too many long requests are being prepared",
               "", "rate_limit_exceeded"),
      1);
}

}  // namespace pingti::router
