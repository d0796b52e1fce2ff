// Output of the swapped-operand GEMMs. Their accumulators have weight rows along lanes and tokens
// along registers; y has tokens as rows. An 8x8 transpose inside the warp turns one into the other,
// after which four lanes touch 16 neighbouring bytes of a token's row.
//
// For an 8x8 block (output columns `col`.., tokens `token`..), lane l with g = l / 4, t = l % 4:
//   accumulator side: column col + g, tokens token + 2t and token + 2t + 1
//   memory side:      token token + g, columns col + 2t and col + 2t + 1
// All 32 lanes take part in every call. Source: PTX ISA, "movmatrix".
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/common/mma_sm80.cuh"

namespace pingti::kernels {

// The block of `matrix` [m, *] at (token, col), in the accumulators' layout; rows beyond m are
// zero.
__device__ __forceinline__ float2 LoadTokenMajor(const __nv_bfloat16* matrix, int64_t row_stride,
                                                 int m, int token, int col) {
  const int lane = threadIdx.x % 32;
  uint32_t pair = 0;
  if (token + lane / 4 < m) {
    pair = *reinterpret_cast<const uint32_t*>(matrix + (token + lane / 4) * row_stride + col +
                                              2 * (lane % 4));
  }
  pair = Transpose8x8(pair);
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&pair));
}

// Writes the block at (token, col) of `matrix` [m, *]; rows beyond m are left alone.
__device__ __forceinline__ void StoreTokenMajor(__nv_bfloat16* matrix, int64_t row_stride, int m,
                                                int token, int col, float y0, float y1) {
  const int lane = threadIdx.x % 32;
  const __nv_bfloat162 packed = __floats2bfloat162_rn(y0, y1);
  const uint32_t pair = Transpose8x8(*reinterpret_cast<const uint32_t*>(&packed));
  if (token + lane / 4 < m) {
    *reinterpret_cast<uint32_t*>(matrix + (token + lane / 4) * row_stride + col + 2 * (lane % 4)) =
        pair;
  }
}

// The same in f32, from the accumulators' own layout: eight lanes write 32 neighbouring bytes of a
// token's row, which is what a memory transaction moves.
__device__ __forceinline__ void StoreTokenMajorF32(float* matrix, int64_t row_stride, int m,
                                                   int token, int col, float y0, float y1) {
  const int lane = threadIdx.x % 32;
  const int first = token + 2 * (lane % 4);
  float* to = matrix + first * row_stride + col + lane / 4;
  if (first < m) to[0] = y0;
  if (first + 1 < m) to[row_stride] = y1;
}

}  // namespace pingti::kernels
