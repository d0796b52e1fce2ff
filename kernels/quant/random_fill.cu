// Random weights: see random_fill.h.
//
// Grid: grid-stride, one thread per eight elements. Bits: SplitMix64 (Steele et al., "Fast
// splittable pseudorandom number generators", OOPSLA 2014) of the element pair's index.
// Bound by memory bandwidth of the stores. Architectures: all.

#include <algorithm>

#include "kernels/common/status.h"
#include "kernels/common/vec8.cuh"
#include "pingti/kernels/random_fill.h"

namespace pingti::kernels {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ uint64_t Mix(uint64_t z) {
  z += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

template <bool kInt8>
__global__ void __launch_bounds__(kThreads) RandomFillKernel(const RandomFillParams p) {
  const int64_t step = int64_t{gridDim.x} * kThreads * 8;
  for (int64_t at = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * 8; at < p.count; at += step) {
    float x[8];
#pragma unroll
    for (int i = 0; i < 8; i += 2) {
      const uint64_t bits = Mix(p.seed + static_cast<uint64_t>(at + i));
      x[i] = static_cast<float>(static_cast<int32_t>(bits)) * 0x1p-31f;
      x[i + 1] = static_cast<float>(static_cast<int32_t>(bits >> 32)) * 0x1p-31f;
    }
    if constexpr (kInt8) {
      *reinterpret_cast<uint2*>(static_cast<int8_t*>(p.out) + at) = Round8(x, 127.0f);
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] *= p.limit;
      *reinterpret_cast<uint4*>(static_cast<__nv_bfloat16*>(p.out) + at) = Pack8<__nv_bfloat16>(x);
    }
  }
}

}  // namespace

cudaError_t LaunchRandomFill(const RandomFillParams& p, cudaStream_t stream) {
  if (p.dtype != DType::kBf16 && p.dtype != DType::kI8) return cudaErrorNotSupported;
  if (p.count < 0 || p.count % 8 != 0) return cudaErrorInvalidValue;
  if (p.count == 0) return cudaSuccess;
  if (p.out == nullptr || reinterpret_cast<uintptr_t>(p.out) % 16 != 0) {
    return cudaErrorInvalidValue;
  }
  const int64_t blocks = (p.count / 8 + kThreads - 1) / kThreads;
  const auto grid = static_cast<unsigned>(std::min<int64_t>(blocks, 132 * 16));
  if (p.dtype == DType::kI8) {
    RandomFillKernel<true><<<grid, kThreads, 0, stream>>>(p);
  } else {
    RandomFillKernel<false><<<grid, kThreads, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

}  // namespace pingti::kernels
