// Tensor-parallel ranks that are threads of one process: for tests and for CPU workers that split a
// model over sockets.
#pragma once

#include <memory>
#include <vector>

#include "worker/comm/communicator.h"

namespace pingti::worker {

// What the ranks of one group share. Thread-safe. Must outlive its communicators.
class InProcessGroup {
 public:
  // REQUIRES: size >= 1.
  explicit InProcessGroup(int size);
  ~InProcessGroup();
  InProcessGroup(const InProcessGroup&) = delete;
  InProcessGroup& operator=(const InProcessGroup&) = delete;

  // One communicator for each rank; each is for one thread. Matrices are f32 of equal shapes.
  std::vector<std::unique_ptr<Communicator>> MakeCommunicators();

  // Every operation that waits or comes later returns Aborted.
  void Abort();

 private:
  class Rank;
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace pingti::worker
