// Tensor-parallel ranks on GPUs, joined by NCCL: one communicator per GPU, in threads or processes.
//
// Operations go to the backend's stream and may be recorded. NCCL sees no difference between ranks'
// calls: ranks that differ wait for each other until one is aborted. A thread of the communicator's
// own watches for failures that show between operations (a peer's connection is lost) and then
// aborts, so that a step that waits on the device ends; every later operation returns Aborted with
// the cause. A peer that merely never comes is no failure to NCCL: whoever watches the step's
// progress calls Abort, which returns before the device is free.
//
// Promises: NCCL "leaves identical copies of result" on all ranks (nccl.h), but chooses the order
// of additions by size and topology, and adds BF16 in steps.
#pragma once

#include <array>
#include <chrono>
#include <memory>

#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"

namespace pingti::worker {

// What all ranks of one group must hold to find each other; rank 0 makes it and hands it out.
struct NcclId {
  std::array<char, 128> bytes{};
};
// Errors: Internal, naming NCCL's cause.
absl::StatusOr<NcclId> MakeNcclId();

struct NcclOptions {
  int rank = 0;
  int size = 1;
  NcclId id;
  std::chrono::milliseconds join_timeout{std::chrono::minutes(5)};
};

// Waits for all ranks. Errors: InvalidArgument (rank, size, or a backend without a CUDA stream),
// DeadlineExceeded (ranks that did not come), Internal (NCCL's cause).
absl::StatusOr<std::unique_ptr<Communicator>> MakeNcclCommunicator(Backend* backend,
                                                                   const NcclOptions& options);

}  // namespace pingti::worker
