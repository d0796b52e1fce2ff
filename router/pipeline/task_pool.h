// A few threads for work that would hold up an I/O thread: parsing, rendering and tokenizing long
// requests.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/base/bounded_queue.h"

namespace pingti::router {

// Thread-safe. The destructor runs what is queued, then joins.
class TaskPool {
 public:
  TaskPool(int num_threads, size_t capacity);
  ~TaskPool();

  // False when the queue is full.
  bool TryPost(std::function<void()> task);

 private:
  BoundedQueue<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
};

// What a client hears when TryPost refused: ResourceExhausted with Retry-After.
absl::Status PoolFull();

}  // namespace pingti::router
