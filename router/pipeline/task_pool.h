// A few threads for work that would hold up an I/O thread: parsing, rendering and tokenizing long
// requests. Long work and very long work have queues and threads of their own, so that bodies of
// megabytes hold up nobody but each other.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/base/bounded_queue.h"

namespace pingti::router {

enum class TaskLength { kLong, kVeryLong };

// Thread-safe. The destructor runs what is queued, then joins.
class TaskPool {
 public:
  // Each kind gets half of `num_threads`, and at least one; `capacity` tasks of each may wait.
  TaskPool(int num_threads, size_t capacity);
  ~TaskPool();

  // False when the queue is full. A task whose client may leave before it runs looks for that
  // first.
  bool TryPost(TaskLength length, std::function<void()> task);

 private:
  using Queue = BoundedQueue<std::function<void()>>;

  void Run(int num_threads, Queue* tasks);

  Queue long_;
  Queue very_long_;
  std::vector<std::thread> threads_;
};

// What a client hears when TryPost refused: ResourceExhausted with Retry-After.
absl::Status PoolFull();

}  // namespace pingti::router
