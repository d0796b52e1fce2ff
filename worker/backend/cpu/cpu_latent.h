// What latent attention computes around the attention itself (cpu_attention.h): products of which
// every head has a matrix of its own, shared as (head, block of rows) among threads; norm, rotation
// and caching of latents. Confined to the engine thread.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/backend/cpu/aligned_buffer.h"
#include "worker/backend/cpu/cpu_kernels.h"
#include "worker/backend/cpu/cpu_kv_cache.h"
#include "worker/backend/cpu/cpu_linear.h"
#include "worker/backend/cpu/thread_pool.h"

namespace pingti::worker::cpu {

class CpuLatent {
 public:
  CpuLatent(const CpuKernels* kernels, ThreadPool* pool) : kernels_(kernels), pool_(pool) {}

  // See Backend::HeadLinear; x and out are f32. Errors: ResourceExhausted.
  absl::Status Linear(const CpuLinearWeight& weight, const HeadsView& x, const HeadsView& out);
  // See Backend::RopeAndAppendLatent. REQUIRES: the cache's layer fits the shape. Errors: the same.
  absl::Status RopeAndAppend(const StepInputs& step, const HeadsView& q, MatrixView kv,
                             const LatentAttentionShape& shape, const float* norm_weight, float eps,
                             CpuKvCache* cache, int64_t layer, const HeadsView& out);

 private:
  absl::Status EnsureScratch(int64_t bytes);
  // Rows of a head's columns as the matrix reads them, in the thread's scratch.
  ActivationRows Convert(const PackedMatrix& matrix, const HeadsView& x, int64_t head,
                         int64_t first, int64_t count, uint8_t* memory) const;

  const CpuKernels* const kernels_;
  ThreadPool* const pool_;
  AlignedBuffer scratch_;  // of one call
};

}  // namespace pingti::worker::cpu
