// A batch's sampling parameters as kernels read them: the rows, and in arrays of their own their
// counts, biases and masks. On the host it is collected here; on the device it is one piece of
// memory, in the layout that CopyTo writes.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "pingti/kernels/sampling.h"
#include "worker/backend/sampling_params.h"

namespace pingti::worker::cuda {

// Bytes that an array takes in a piece of memory of arrays that are 16-byte aligned.
inline int64_t AlignedBytes(size_t bytes) { return (static_cast<int64_t>(bytes) + 15) / 16 * 16; }

// Confined to the engine thread.
class SamplingRows {
 public:
  void Clear();
  // Errors: InvalidArgument where more tokens are asked for than kernels give.
  // REQUIRES: a mask has `mask_words` words.
  absl::Status Add(const SamplingRow& row, int64_t mask_words);

  size_t size() const { return rows_.size(); }
  int64_t count() const { return static_cast<int64_t>(rows_.size()); }
  kernels::SamplingRowParams& back() { return rows_.back(); }
  // Most top log-probabilities that a row asks for; -1: none asks.
  int32_t max_top() const { return max_top_; }
  int32_t max_ranked() const { return max_ranked_; }

  // Of all arrays, a multiple of 16.
  int64_t bytes() const;
  void CopyTo(uint8_t* base) const;
  // Points `params` to what was copied to `base`, but for allowed_mask_stride. Params: those of
  // kernels' launchers.
  template <typename Params>
  void SetPointers(const uint8_t* base, Params* params) const {
    params->rows = reinterpret_cast<const kernels::SamplingRowParams*>(base);
    base += AlignedBytes(rows_.size() * sizeof(rows_[0]));
    params->token_counts = reinterpret_cast<const kernels::SamplingTokenCount*>(base);
    base += AlignedBytes(counts_.size() * sizeof(counts_[0]));
    params->token_biases = reinterpret_cast<const kernels::SamplingTokenBias*>(base);
    base += AlignedBytes(biases_.size() * sizeof(biases_[0]));
    params->allowed_masks = reinterpret_cast<const uint32_t*>(base);
  }

 private:
  std::vector<kernels::SamplingRowParams> rows_;
  std::vector<kernels::SamplingTokenCount> counts_;
  std::vector<kernels::SamplingTokenBias> biases_;
  std::vector<uint32_t> masks_;
  int32_t num_masks_ = 0;
  int32_t max_top_ = -1;
  int32_t max_ranked_ = 0;
};

}  // namespace pingti::worker::cuda
