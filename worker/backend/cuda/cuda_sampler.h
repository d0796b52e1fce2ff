// Draws tokens from logits on the device (kernels' sampling.h) and brings them to the host.
//
// Owns the rows' parameters and results on both sides; they grow with the largest batch seen.
// Confined to the engine thread. Waiting for the results is the one place where the hot path waits
// for the device.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "pingti/kernels/sampling.h"
#include "worker/backend/backend.h"
#include "worker/backend/cuda/device_memory.h"
#include "worker/backend/cuda/sampling_rows.h"

namespace pingti::worker::cuda {

class CudaSampler {
 public:
  // See Backend::Sample and Backend::Logprobs.
  absl::Status Sample(MatrixView logits, std::span<const SamplingRow> rows,
                      std::span<SampledToken> sampled, cudaStream_t stream);
  absl::Status Logprobs(MatrixView logits, std::span<const LogprobRequest> requests,
                        std::span<SampledToken> results, cudaStream_t stream);

 private:
  // Offsets of what a batch sends and gets back, from the start of either memory.
  struct Layout {
    int64_t sent = 0;  // bytes before the results
    int64_t token_ids = 0;
    int64_t logprobs = 0;
    int64_t top_ids = 0;
    int64_t top_logprobs = 0;
    int64_t ranked_ids = 0;
    int64_t ranked_logprobs = 0;
    int64_t adjusted_logprobs = 0;
    int64_t end = 0;
  };

  // Runs what was added on logits.rows rows; results are in pinned_ when it returns.
  absl::Status Run(MatrixView logits, cudaStream_t stream);
  Layout MakeLayout() const;
  absl::Status Reserve(const Layout& layout, const MatrixView& logits);
  absl::Status Launch(MatrixView logits, cudaStream_t stream);
  int32_t max_top() const { return std::max(rows_.max_top(), 0); }
  void Read(int64_t row, int32_t num_top, SampledToken* token) const;
  void ReadRanked(int64_t row, int32_t num_ranked, SampledToken* token) const;

  SamplingRows rows_;
  Layout layout_;
  std::unique_ptr<CudaBuffer> device_;
  PinnedBuffer pinned_;
  std::unique_ptr<CudaBuffer> workspace_;
};

}  // namespace pingti::worker::cuda
