// What the tensor-parallel ranks of one worker say to each other about activations. A model with
// one rank uses SingleRankCommunicator; in_process.h joins ranks that are threads of one process,
// tcp_communicator.h those that are processes; nccl.h joins GPUs, and peer.h sums between those of
// one host.
//
// A communicator is made for one rank's backend and issues in its order: a collective reads what
// was issued before it and is read by what is issued after it, as if it were an operation of the
// backend, so it may stand between them in Backend::Issue.
//
// Every rank issues the same operations in the same order, with matrices of the same dtype, rows
// and columns (strides may differ). Dtypes: F32, BF16, I32. Confined to the rank's engine thread,
// but for Check and Abort. Errors of every operation: Aborted when a peer is gone or the group was
// aborted, and then of every later one; InvalidArgument, naming the rank and the matrix, where the
// implementation sees that ranks differ (see its header) or a dtype is none of the above.
#pragma once

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

// What a caller may build on. What is not promised may still hold.
struct CollectivePromises {
  // All ranks hold the same bits after an operation, so that each may draw the same token from its
  // own copy of the logits.
  bool bitwise_equal_on_all_ranks = false;
  // Sums are added in rank order, so that an element's sum depends on nothing but the ranks'
  // values: neither on the matrix's shape nor on the run.
  bool adds_in_rank_order = false;
  // Backend::Issue may record the operations and repeat the record without calling them.
  bool can_be_recorded = false;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual CollectivePromises promises() const = 0;

  // matrix = sum over ranks of matrix. BF16 is added in f32 and rounded once where
  // adds_in_rank_order is promised; I32 wraps around.
  virtual absl::Status AllReduceSum(MatrixView matrix) = 0;
  // The columns are as many equal stretches as there are ranks; stretch r of every rank's matrix =
  // stretch r of rank r's. Errors: also InvalidArgument where size() does not divide the columns.
  virtual absl::Status AllGather(MatrixView matrix) = 0;
  // matrix = that of rank `root`.
  virtual absl::Status Broadcast(MatrixView matrix, int root) = 0;
  // residual += sum over ranks of delta; out = RmsNorm(residual), as Backend::AddRmsNorm defines
  // it. `delta` holds anything afterwards. An implementation may do it in one pass; this one puts
  // it together from AllReduceSum and AddRmsNorm.
  virtual absl::Status AllReduceAddRmsNorm(MatrixView delta, MatrixView residual,
                                           const DeviceBuffer& weight, float eps,
                                           const Operand& out);
  // The same with LayerNorm, as Backend::AddLayerNorm defines it; `bias` may be null.
  virtual absl::Status AllReduceAddLayerNorm(MatrixView delta, MatrixView residual,
                                             const DeviceBuffer& weight, const DeviceBuffer* bias,
                                             float eps, const Operand& out);

  // Whether the group still works, without waiting for the device: what a repeated record, which
  // does not call the operations, leaves to be asked. Any thread. Errors: Aborted.
  virtual absl::Status Check() = 0;
  // Whether this rank stands in an operation and waits there for its peers, so that it is not the
  // one that is late. Any thread. False where operations do not wait on the host.
  virtual bool WaitsForPeers() const { return false; }
  // Ends what this rank has issued, also what waits for a peer that will not come; every later
  // operation returns Aborted. Any thread.
  virtual void Abort() = 0;

 protected:
  // `backend` must outlive the communicator.
  explicit Communicator(Backend* backend) : backend_(backend) {}

  Backend* const backend_;
};

class SingleRankCommunicator : public Communicator {
 public:
  explicit SingleRankCommunicator(Backend* backend) : Communicator(backend) {}

  int rank() const override { return 0; }
  int size() const override { return 1; }
  CollectivePromises promises() const override { return {true, true, true}; }
  absl::Status AllReduceSum(MatrixView) override { return absl::OkStatus(); }
  absl::Status AllGather(MatrixView) override { return absl::OkStatus(); }
  absl::Status Broadcast(MatrixView, int) override { return absl::OkStatus(); }
  absl::Status Check() override { return absl::OkStatus(); }
  void Abort() override {}
};

}  // namespace pingti::worker
