// The sum of two matrices. Host only. Next: kernels/activation/add.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/dtype.h"

namespace pingti::kernels {

// sum[t, i] += x[t, i], in float, rounded once.
struct AddParams {
  const void* x = nullptr;  // device, [num_tokens, width]
  int64_t x_stride = 0;     // elements between rows; every stride here is a multiple of 8
  void* sum = nullptr;      // device, [num_tokens, width]
  int64_t sum_stride = 0;
  int32_t num_tokens = 0;
  int32_t width = 0;           // a multiple of 8
  DType dtype = DType::kBf16;  // of both: kBf16
};

// Arrays 16-byte aligned. cudaErrorInvalidValue: a null pointer, misalignment, or a size outside
// the ranges above; cudaErrorNotSupported: another dtype.
cudaError_t LaunchAdd(const AddParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
