// Attention of a step on the device: sequences with few tokens go to the decode kernel, the others
// to the prefill kernel (see StepPointers). Each kernel needs a plan of the step, made once and
// shared by all layers of one window.
//
// Owns plans and workspace. Confined to the engine thread.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/backend/cuda/cuda_kv_cache.h"
#include "worker/backend/cuda/device_memory.h"
#include "worker/backend/cuda/step_arrays.h"

namespace pingti::worker::cuda {

class CudaAttention {
 public:
  // About what Allocate takes.
  static int64_t BytesFor(const StepLimits& limits);
  // For decodes of up to `max_decode_len` tokens per sequence.
  absl::Status Allocate(const StepLimits& limits, int32_t max_decode_len);
  // Plans made before belong to another step.
  void BeginStep() { ++step_; }
  // See Backend::Attention.
  absl::Status Run(const StepPointers& arrays, MatrixView qkv, const AttentionShape& shape,
                   const CudaKvCache& cache, int64_t layer, MatrixView out, cudaStream_t stream);

 private:
  // Plans and decode's partial results of the layers with equal sizes and window that
  // all transform their scores or all do not.
  struct Plans {
    AttentionShape shape;
    std::unique_ptr<CudaBuffer> decode;
    std::unique_ptr<CudaBuffer> prefill;
    std::unique_ptr<CudaBuffer> decode_workspace;
    uint64_t decode_step = 0;  // for which they were made
    uint64_t prefill_step = 0;
  };

  absl::StatusOr<Plans*> PlansFor(const AttentionShape& shape);
  absl::Status RunDecode(const StepPointers& step, MatrixView qkv, const AttentionShape& shape,
                         const kernels::PagedKv& kv, Plans* plans, MatrixView out,
                         cudaStream_t stream);
  absl::Status RunPrefill(const StepPointers& step, MatrixView qkv, const AttentionShape& shape,
                          const CudaKvCache& cache, int64_t layer, kernels::PagedKv kv,
                          Plans* plans, MatrixView out, cudaStream_t stream);

  StepLimits limits_;
  int32_t max_decode_len_ = 1;
  uint64_t step_ = 0;
  std::vector<Plans> plans_;
};

}  // namespace pingti::worker::cuda
