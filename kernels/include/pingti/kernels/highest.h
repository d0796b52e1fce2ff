// The highest value of each row of a matrix, and where it is: what a rank's part of the vocabulary
// adds to a greedy draw. Host only. Next: kernels/sampling/highest.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace pingti::kernels {

// best[r] = {max of x[r], its column as a float}, the first of equal ones; +inf where x[r] holds a
// NaN, and {-inf, 0} where no value is higher than -inf.
struct HighestOfRowsParams {
  const float* x = nullptr;  // device, [rows, cols]
  int64_t x_stride = 0;      // elements between rows
  float* best = nullptr;     // device, [rows, 2]
  int64_t best_stride = 0;
  int32_t rows = 0;
  int32_t cols = 0;  // fewer than 2^24
};

// Deterministic. cudaErrorInvalidValue: a null pointer or a size outside the ranges above.
cudaError_t LaunchHighestOfRows(const HighestOfRowsParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
