// See task_pool.h.
#include "router/pipeline/task_pool.h"

#include <utility>

#include "router/api/api_error.h"

namespace pingti::router {

TaskPool::TaskPool(int num_threads, size_t capacity) : tasks_(capacity) {
  for (int i = 0; i < num_threads; ++i) {
    threads_.emplace_back([this] {
      while (auto task = tasks_.Pop()) (*task)();
    });
  }
}

TaskPool::~TaskPool() {
  tasks_.Close();
  for (std::thread& thread : threads_) thread.join();
}

bool TaskPool::TryPost(std::function<void()> task) { return tasks_.TryPush(std::move(task)); }

absl::Status PoolFull() {
  return WithRetryAfter(
      ApiError(absl::StatusCode::kResourceExhausted, "too many long requests are being prepared",
               "", "rate_limit_exceeded"),
      1);
}

}  // namespace pingti::router
