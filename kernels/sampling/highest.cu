// The highest value of each row: see highest.h.
//
// Grid: one block of 512 threads per row; each thread keeps the highest of what it reads, and warps
//   and the block combine keys, which order by value, then by the lower column.
// Bytes: 4 per element, read once, in vectors of 16 bytes where a row is aligned. One row is bound
//   by what one SM reads.
// Architectures: sm_80 and newer.

#include "kernels/sampling/row_blocks.cuh"
#include "pingti/kernels/highest.h"

namespace pingti::kernels {
namespace {

using sampling::LogitOf;
using sampling::TokenKey;
using sampling::TokenOf;

constexpr int kHighestThreads = 512;
constexpr int kHighestWarps = kHighestThreads / 32;
constexpr int kMaxCols = 1 << 24;

// What a thread has seen, columns in ascending order: of equal values the first stays.
struct Seen {
  float value = -INFINITY;
  int column = -1;
  bool has_nan = false;

  __device__ void See(int at, float x) {
    has_nan |= isnan(x);
    if (x > value) {
      value = x;
      column = at;
    }
  }
  // 0: nothing was higher than -inf.
  __device__ uint64_t Key() const { return column < 0 ? 0 : TokenKey(value, column); }
};

__device__ __forceinline__ uint64_t WarpMax(uint64_t key) {
#pragma unroll
  for (int delta = 16; delta > 0; delta /= 2) {
    const uint64_t other = __shfl_xor_sync(~0u, key, delta);
    key = other > key ? other : key;
  }
  return key;
}

__global__ void __launch_bounds__(kHighestThreads) HighestKernel(const HighestOfRowsParams p) {
  __shared__ uint64_t keys[kHighestWarps];
  const float* x = p.x + blockIdx.x * p.x_stride;
  Seen seen;
  int begin = 0;
  if (reinterpret_cast<uintptr_t>(x) % sizeof(float4) == 0) {
    const int vectors = p.cols / 4;
#pragma unroll 4
    for (int v = threadIdx.x; v < vectors; v += kHighestThreads) {
      const float4 four = reinterpret_cast<const float4*>(x)[v];
      seen.See(4 * v, four.x);
      seen.See(4 * v + 1, four.y);
      seen.See(4 * v + 2, four.z);
      seen.See(4 * v + 3, four.w);
    }
    begin = 4 * vectors;
  }
  for (int c = begin + threadIdx.x; c < p.cols; c += kHighestThreads) seen.See(c, x[c]);
  const uint64_t key = WarpMax(seen.Key());
  if (threadIdx.x % 32 == 0) keys[threadIdx.x / 32] = key;
  const bool has_nan = __syncthreads_or(seen.has_nan);  // every warp's key is in place
  if (threadIdx.x >= 32) return;
  const uint64_t best = WarpMax(threadIdx.x < kHighestWarps ? keys[threadIdx.x] : 0);
  if (threadIdx.x > 0) return;
  float* out = p.best + blockIdx.x * p.best_stride;
  out[0] = has_nan ? INFINITY : best == 0 ? -INFINITY : LogitOf(best);
  out[1] = best == 0 ? 0.0f : static_cast<float>(TokenOf(best));
}

}  // namespace

cudaError_t LaunchHighestOfRows(const HighestOfRowsParams& params, cudaStream_t stream) {
  if (params.rows < 0 || params.cols < 0 || params.cols >= kMaxCols) return cudaErrorInvalidValue;
  if (params.rows == 0) return cudaSuccess;
  if (params.best == nullptr || (params.x == nullptr && params.cols > 0)) {
    return cudaErrorInvalidValue;
  }
  HighestKernel<<<params.rows, kHighestThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace pingti::kernels
