#include "worker/comm/peer.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "pingti/kernels/all_reduce_group.h"
#include "worker/backend/cuda/cuda_status.h"
#include "worker/backend/cuda/kernel_params.h"

namespace pingti::worker {
namespace {

// Of each rank that shares its device with others: the blocks of a launch.
constexpr int kBlocksOnSharedDevice = 8;

// What kernels sum and gather; of I32, the word that means "not arrived" is a value.
bool IsOurs(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBf16; }
kernels::DType KernelDType(DType dtype) {
  return dtype == DType::kF32 ? kernels::DType::kF32 : kernels::DType::kBf16;
}

// The group's memory goes with the last of its ranks, which end in any order: hence shared.
using SharedGroup = std::shared_ptr<kernels::AllReduceGroup>;

class PeerCommunicator : public Communicator {
 public:
  PeerCommunicator(SharedGroup group, int rank, int size, const PeerOptions& options,
                   PeerRank parts)
      : Communicator(parts.backend),
        group_(std::move(group)),
        link_(group_->link(rank)),
        size_(size),
        timeout_(options.timeout),
        rest_(std::move(parts.rest)),
        stream_(static_cast<cudaStream_t>(backend_->stream()->stream)) {}

  ~PeerCommunicator() override {
    // Records hold the addresses of the group's memory.
    backend_->ForgetRecords();
    cudaStreamSynchronize(stream_);
  }

  int rank() const override { return link_.rank; }
  int size() const override { return size_; }
  CollectivePromises promises() const override {
    return {.bitwise_equal_on_all_ranks = true,
            .adds_in_rank_order = true,
            .can_be_recorded = rest_->promises().can_be_recorded};
  }

  absl::Status AllReduceSum(MatrixView matrix) override {
    PINGTI_RETURN_IF_ERROR(CheckPeers());
    if (!IsOurs(matrix.dtype)) return rest_->AllReduceSum(matrix);
    kernels::AllReduceParams params;
    params.link = link_;
    params.x = matrix.data;
    params.x_stride = matrix.stride;
    params.out = matrix.data;
    params.out_stride = matrix.stride;
    params.rows = matrix.rows;
    params.cols = matrix.cols;
    params.dtype = KernelDType(matrix.dtype);
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchAllReduce(params, stream_));
    return absl::OkStatus();
  }

  absl::Status AllReduceAddRmsNorm(MatrixView delta, MatrixView residual,
                                   const DeviceBuffer& weight, float eps,
                                   const Operand& out) override {
    PINGTI_RETURN_IF_ERROR(CheckPeers());
    kernels::AllReduceRmsNormParams params;
    params.link = link_;
    params.norm = cuda::NormParams<kernels::RmsNormParams>(delta, &residual, weight, eps, out);
    const cudaError_t error = kernels::LaunchAllReduceRmsNorm(params, stream_);
    if (error == cudaErrorNotSupported) {
      return Communicator::AllReduceAddRmsNorm(delta, residual, weight, eps, out);
    }
    return cuda::CudaStatus(error, "all-reduce with residual and norm");
  }

  absl::Status AllGather(MatrixView matrix) override {
    PINGTI_RETURN_IF_ERROR(CheckPeers());
    if (!IsOurs(matrix.dtype)) return rest_->AllGather(matrix);
    if (matrix.cols % size_ != 0) {
      return absl::InvalidArgumentError(Concat("all-gather of ", matrix.cols, " columns from ",
                                               size_, " ranks; expected equal shares"));
    }
    kernels::AllGatherParams params;
    params.link = link_;
    params.matrix = matrix.data;
    params.stride = matrix.stride;
    params.rows = matrix.rows;
    params.cols = matrix.cols;
    params.dtype = KernelDType(matrix.dtype);
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchAllGather(params, stream_));
    return absl::OkStatus();
  }

  absl::Status Broadcast(MatrixView matrix, int root) override {
    PINGTI_RETURN_IF_ERROR(CheckPeers());
    return rest_->Broadcast(matrix, root);
  }

  absl::Status Check() override {
    PINGTI_RETURN_IF_ERROR(CheckPeers());
    const absl::Status status = rest_->Check();
    if (!status.ok()) group_->Abort();
    return status;
  }

  void Abort() override {
    group_->Abort();
    rest_->Abort();
  }

 private:
  // What fails one way ends the other too.
  absl::Status CheckPeers() {
    if (!group_->aborted()) return absl::OkStatus();
    rest_->Abort();
    return absl::AbortedError(Concat("rank ", link_.rank, " of ", size_, ": ", AbortCause()));
  }

  // Who waits for a rank that itself waits says little: the one to name waits for nobody.
  std::string AbortCause() const {
    std::optional<std::string> cause;
    for (int r = 0; r < size_; ++r) {
      const int missed = group_->missed_by(r);
      if (missed < 0) continue;
      const bool waits_itself = group_->missed_by(missed) >= 0;
      if (cause.has_value() && waits_itself) continue;
      cause = Concat("rank ", r, " waited ", timeout_.count(), " ms for rank ", missed,
                     ", which did not send its part of a sum");
    }
    return cause.value_or("the tensor-parallel group was aborted");
  }

  const SharedGroup group_;
  const kernels::AllReduceLink link_;
  const int size_;
  const std::chrono::milliseconds timeout_;
  const std::unique_ptr<Communicator> rest_;
  cudaStream_t const stream_;
};

// The backends' devices; empty where one has none.
std::vector<int> DevicesOf(const std::vector<Backend*>& backends) {
  std::vector<int> devices;
  for (Backend* backend : backends) {
    const std::optional<DeviceStream> stream = backend->stream();
    if (!stream.has_value()) return {};
    devices.push_back(stream->device);
  }
  return devices;
}

bool AreDistinct(std::vector<int> devices) {
  std::sort(devices.begin(), devices.end());
  return std::adjacent_find(devices.begin(), devices.end()) == devices.end();
}

}  // namespace

bool CanSumThroughPeers(const std::vector<Backend*>& backends) {
  const size_t size = backends.size();
  const std::vector<int> devices = DevicesOf(backends);
  return (size == 2 || size == 4 || size == 8) && !devices.empty() &&
         kernels::HavePeerAccess(devices);
}

absl::StatusOr<std::vector<std::unique_ptr<Communicator>>> MakePeerCommunicators(
    std::vector<PeerRank> ranks, const PeerOptions& options) {
  std::vector<Backend*> backends;
  for (const PeerRank& rank : ranks) backends.push_back(rank.backend);
  if (!CanSumThroughPeers(backends)) {
    return absl::InvalidArgumentError(
        Concat("sums through peers' memory between ", ranks.size(),
               " ranks; expected 2, 4 or 8 GPUs that reach each other's memory"));
  }
  const std::vector<int> devices = DevicesOf(backends);
  kernels::AllReduceGroupOptions group_options;
  group_options.timeout = options.timeout;
  if (!AreDistinct(devices)) group_options.max_blocks = kBlocksOnSharedDevice;
  std::unique_ptr<kernels::AllReduceGroup> made;
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::AllReduceGroup::Make(devices, group_options, &made));
  const SharedGroup group = std::move(made);
  std::vector<std::unique_ptr<Communicator>> communicators;
  const int size = static_cast<int>(ranks.size());
  for (int r = 0; r < size; ++r) {
    communicators.push_back(std::make_unique<PeerCommunicator>(
        group, r, size, options, std::move(ranks[static_cast<size_t>(r)])));
  }
  return communicators;
}

}  // namespace pingti::worker
