// Latent attention of a step on the device: norm, rotation and append of latents, and attention
// itself, whose kernel has a form for sequences with few tokens and one for the others (see
// StepPointers). Each form needs a plan of the step, made once and shared by all layers.
//
// Owns plans and workspace. Confined to the engine thread. Products by head: cuda_linear.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "pingti/kernels/latent_attention.h"
#include "worker/backend/backend.h"
#include "worker/backend/cuda/cuda_kv_cache.h"
#include "worker/backend/cuda/device_memory.h"
#include "worker/backend/cuda/step_arrays.h"

namespace pingti::worker::cuda {

class CudaLatent {
 public:
  // About what Allocate takes.
  static int64_t BytesFor(const StepLimits& limits);
  // For decodes of up to `max_decode_len` tokens per sequence. Errors: Unimplemented for sizes that
  // the kernels lack.
  absl::Status Allocate(const StepLimits& limits, int32_t max_decode_len);
  // Plans made before belong to another step.
  void BeginStep() { ++step_; }

  // See Backend::RopeAndAppendLatent and LatentAttention.
  absl::Status RopeAndAppend(const StepPointers& arrays, const HeadsView& q, MatrixView kv,
                             const LatentAttentionShape& shape, const float* norm_weight, float eps,
                             const CudaKvCache& cache, int64_t layer, const HeadsView& out,
                             cudaStream_t stream);
  absl::Status Run(const StepPointers& arrays, MatrixView q, const LatentAttentionShape& shape,
                   const CudaKvCache& cache, int64_t layer, MatrixView out, cudaStream_t stream);

 private:
  absl::Status RunDecode(const StepPointers& step, const kernels::LatentTensors& tensors,
                         cudaStream_t stream);
  absl::Status RunPrefill(const StepPointers& step, const kernels::LatentTensors& tensors,
                          cudaStream_t stream);

  uint64_t step_ = 0;
  uint64_t decode_step_ = 0;  // for which the plan was made
  uint64_t prefill_step_ = 0;
  std::unique_ptr<CudaBuffer> decode_plan_;
  std::unique_ptr<CudaBuffer> decode_workspace_;
  std::unique_ptr<CudaBuffer> prefill_plan_;
};

}  // namespace pingti::worker::cuda
