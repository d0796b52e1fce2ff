// Random device data for benches: never zeros, which run faster than real data and hide errors.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace pingti::kernels::bench {

// Uniform bytes -127..127.
cudaError_t FillS8(int8_t* data, size_t size, uint32_t seed);
// Uniform bits, for packed weights.
cudaError_t FillBits(void* data, size_t bytes, uint32_t seed);
// Uniform in [low, high).
cudaError_t FillF32(float* data, size_t size, float low, float high, uint32_t seed);
cudaError_t FillBf16(__nv_bfloat16* data, size_t size, float low, float high, uint32_t seed);

}  // namespace pingti::kernels::bench
