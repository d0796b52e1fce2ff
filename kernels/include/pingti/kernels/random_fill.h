// Random weights, made where they are used: for benchmarks of shapes whose checkpoints are not at
// hand. Host only. Next: kernels/quant/random_fill.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/dtype.h"

namespace pingti::kernels {

// kBf16: uniform in [-limit, limit). kI8: uniform integers in [-127, 127]. Element i depends on
// (seed, i) alone.
struct RandomFillParams {
  void* out = nullptr;  // device, [count], 16-byte aligned
  int64_t count = 0;    // a multiple of 8
  float limit = 1.0f;
  uint64_t seed = 0;
  DType dtype = DType::kBf16;
};

// cudaErrorInvalidValue: a null pointer, misalignment or a bad count; cudaErrorNotSupported:
// another dtype.
cudaError_t LaunchRandomFill(const RandomFillParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
