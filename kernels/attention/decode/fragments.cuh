// Register fragments of mma.m16n8k16 (layouts: mma_sm80.cuh) for the decode kernel: K and V tiles
// from swizzled shared memory, 16-bit or int8 (widened exactly in registers).
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/attention/decode/pipeline.cuh"
#include "kernels/common/masked_magic.cuh"
#include "kernels/common/mma_sm80.cuh"

namespace pingti::kernels::decode {

// Widens the int8 in the low byte of each half of `x` (high bytes ignored) to bf16, exactly:
// 0x4300 | low 7 bits = 128 + them, and 0x4300 | sign bit = 128 or 256; their difference is the
// two's complement value.
__device__ __forceinline__ uint32_t Widen2(uint32_t x) {
  const uint32_t magnitude = MaskedMagic<0x007F007F, 0x43004300>(x);
  const uint32_t bias = MaskedMagic<0x00800080, 0x43004300>(x);
  const __nv_bfloat162 value = __hsub2(reinterpret_cast<const __nv_bfloat162&>(magnitude),
                                       reinterpret_cast<const __nv_bfloat162&>(bias));
  return reinterpret_cast<const uint32_t&>(value);
}

// Head dim of depth slot pair (2t, 2t+1) [half 0] or (2t+8, 2t+9) [half 1] of depth block `block`.
// An int8 lane gets four adjacent bytes, so int8 permutes depth within a block; Q does the same.
template <class Tr>
__device__ __forceinline__ int DepthDim(int block, int half) {
  const int t = threadIdx.x % 4;
  return block * 16 + (Tr::kInt8 ? 4 * t + 2 * half : 2 * t + 8 * half);
}

// Head dim of value pair `half` of 16-dim output block `block`, and the accumulators that hold it:
// 16-bit V: columns 2t, 2t+1 of the block's two 8-wide products. int8 V: transposing byte pairs
// leaves even dims in the first product and odd dims in the second.
template <class Tr>
__device__ __forceinline__ int OutputDim(int block, int half) {
  const int t = threadIdx.x % 4;
  return block * 16 + (Tr::kInt8 ? 4 * t + 2 * half : 8 * half + 2 * t);
}
template <class Tr>
__device__ __forceinline__ float2 OutputPair(const float (&first)[4], const float (&second)[4],
                                             int half, int row_half) {
  if constexpr (Tr::kInt8) {
    return {first[2 * row_half + half], second[2 * row_half + half]};
  } else {
    return half == 0 ? make_float2(first[2 * row_half], first[2 * row_half + 1])
                     : make_float2(second[2 * row_half], second[2 * row_half + 1]);
  }
}

// Calls use(block, n, b0, b1) for the K fragments of 16 tokens from `token`: depth block `block` of
// 16 dims, n = 0, 1 for tokens 0..7 and 8..15.
template <class Tr, class Use>
__device__ __forceinline__ void ForEachKFragment(uint32_t tile, int token, const Use& use) {
  const int lane = threadIdx.x % 32;
  const int matrix = lane / 8;
  uint32_t r[4];
  if constexpr (Tr::kInt8) {
    // Matrices: (tokens 0-7, chunk c), (8-15, c), (0-7, c+1), (8-15, c+1); a chunk is 16 dims.
    const int row = token + (matrix % 2) * 8 + lane % 8;
#pragma unroll
    for (int chunk = 0; chunk < Tr::kHeadDim / 16; chunk += 2) {
      LoadMatrix4(r, tile + ChunkOffset<Tr>(row, chunk + matrix / 2));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        use(chunk + i / 2, i % 2, Widen2(__byte_perm(r[i], 0, 0x4140)),
            Widen2(__byte_perm(r[i], 0, 0x4342)));
      }
    }
  } else {
    // Matrices: (tokens 0-7, dims 0-7), (0-7, 8-15), (8-15, 0-7), (8-15, 8-15) of the block.
    const int row = token + (matrix / 2) * 8 + lane % 8;
#pragma unroll
    for (int block = 0; block < Tr::kHeadDim / 16; ++block) {
      LoadMatrix4(r, tile + ChunkOffset<Tr>(row, 2 * block + matrix % 2));
      use(block, 0, r[0], r[1]);
      use(block, 1, r[2], r[3]);
    }
  }
}

// Calls use(block, n, b0, b1) for the V fragments of 16 tokens from `token` (the depth): product n
// of 16-dim output block `block`. With `masked`, tokens at or past `valid` (counted from `token`)
// become zero, whatever memory holds: 0 * NaN would be NaN.
template <class Tr, bool kMasked, class Use>
__device__ __forceinline__ void ForEachVFragment(uint32_t tile, int token, int valid,
                                                 const Use& use) {
  const int lane = threadIdx.x % 32;
  const int matrix = lane / 8;
  // Matrices: (tokens 0-7, chunk c), (8-15, c), (0-7, c+1), (8-15, c+1).
  const int row = token + (matrix % 2) * 8 + lane % 8;
  uint32_t keep_low = ~0u;
  uint32_t keep_high = ~0u;
  if constexpr (kMasked) {
    const int t2 = 2 * (lane % 4);
    keep_low = (t2 < valid ? 0x0000FFFFu : 0u) | (t2 + 1 < valid ? 0xFFFF0000u : 0u);
    keep_high = (t2 + 8 < valid ? 0x0000FFFFu : 0u) | (t2 + 9 < valid ? 0xFFFF0000u : 0u);
  }
  uint32_t r[4];
#pragma unroll
  for (int chunk = 0; chunk < Tr::kRowBytes / 16; chunk += 2) {
    LoadMatrix4Transposed(r, tile + ChunkOffset<Tr>(row, chunk + matrix / 2));
    if constexpr (Tr::kInt8) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {  // chunk + i is one 16-dim output block
        uint32_t low = r[2 * i] & keep_low;
        uint32_t high = r[2 * i + 1] & keep_high;
        use(chunk + i, 0, Widen2(low), Widen2(high));
        use(chunk + i, 1, Widen2(low >> 8), Widen2(high >> 8));
      }
    } else {
      use(chunk / 2, 0, r[0] & keep_low, r[1] & keep_high);
      use(chunk / 2, 1, r[2] & keep_low, r[3] & keep_high);
    }
  }
}

}  // namespace pingti::kernels::decode
