// Writes the records of sampling_parts.h on the device (kernels' sample_parts.h).
//
// Owns the rows' parameters on both sides, which never grow once they are allocated: while one rank
// allocates memory, others may already wait on their devices for what it has not issued yet.
// Confined to the engine thread; waits for the device only where it has not yet taken the
// parameters of the call before.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/backend/cuda/device_memory.h"
#include "worker/backend/cuda/sampling_rows.h"

namespace pingti::worker::cuda {

class CudaPartSampler {
 public:
  static int64_t BytesFor(const StepLimits& limits);
  absl::Status Allocate(const StepLimits& limits);
  // See Backend::SampleParts.
  absl::Status SampleParts(MatrixView logits, int64_t first_token,
                           std::span<const SamplingRow> rows, const PartsLayout& layout,
                           MatrixView records, cudaStream_t stream);

 private:
  int64_t vocab_size_ = 0;
  int64_t max_rows_ = 0;
  SamplingRows rows_;
  std::unique_ptr<CudaBuffer> device_;
  PinnedBuffer pinned_;
  CudaEvent sent_;
  std::unique_ptr<CudaBuffer> workspace_;
};

}  // namespace pingti::worker::cuda
