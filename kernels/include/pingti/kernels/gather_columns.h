// Columns of a matrix in another order, with gaps: logits of a draft head's tokens among those of
// the whole vocabulary. Host only. Next: kernels/sampling/gather_columns.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace pingti::kernels {

// out[r, c] = x[r, columns[c]], or -inf where columns[c] < 0.
struct GatherColumnsParams {
  const float* x = nullptr;        // device, [rows, more than every column]
  int64_t x_stride = 0;            // elements between rows
  const float* columns = nullptr;  // device, [cols]; whole numbers below 2^24
  float* out = nullptr;            // device, [rows, cols]
  int64_t out_stride = 0;
  int32_t rows = 0;  // up to 65,535
  int32_t cols = 0;
};

// cudaErrorInvalidValue: a null pointer or a size outside the ranges above.
cudaError_t LaunchGatherColumns(const GatherColumnsParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
