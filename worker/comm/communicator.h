// What tensor-parallel ranks of one worker say to each other. A model with one rank uses
// SingleRankCommunicator; in_process.h joins ranks that are threads of one process; NCCL joins
// GPUs.
//
// Every rank calls the same operations in the same order. Confined to the rank's engine thread.
#pragma once

#include "absl/status/status.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // matrix = sum over ranks of matrix, added in rank order so that all ranks agree bit for bit.
  // Errors: Aborted when a peer is gone or the group was aborted; the group stays unusable.
  virtual absl::Status AllReduceSum(MatrixView matrix) = 0;
};

class SingleRankCommunicator : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  absl::Status AllReduceSum(MatrixView) override { return absl::OkStatus(); }
};

}  // namespace pingti::worker
