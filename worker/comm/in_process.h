// Tensor-parallel ranks that are threads of one process, over memory that the host reaches: for
// tests and for CPU workers that split a model over sockets.
//
// Each rank works on an equal share of the columns for all ranks, so that a sum is computed once
// and every rank gets its bits. Operations are complete when they return. Ranks that differ in
// operation, dtype, rows, columns or root all get the same InvalidArgument, and the group works on.
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

  // The communicator of one rank, for one thread. `backend` works on host memory, completes its
  // operations before they return, and must outlive the communicator. REQUIRES: each rank of the
  // group once.
  std::unique_ptr<Communicator> MakeCommunicator(int rank, Backend* backend);

  // Every operation that waits or comes later returns Aborted, on all ranks; so does
  // Communicator::Abort of any rank.
  void Abort();

 private:
  class Rank;
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace pingti::worker
