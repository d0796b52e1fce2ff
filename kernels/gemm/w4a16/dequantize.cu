// Packed 4- and 8-bit weights back to bf16, for products of many tokens: see gemm_w4a16.h.
//
// Mapping: a warp turns one packed block (launch.h: 32 rows x 128 k) into bf16 through shared
//   memory, from which whole rows of 256 bytes go out; four warps per thread block, side by side in
// k. Precision: q - zero is exact in bf16, its product with the scale exact in f32 for 8 bits of
//   scale and rounded once to bf16.
// Bound: bits / 8 bytes read and 2 written for each weight; the writes stay in the L2 cache where
//   the slice fits there. sm_80 and later. Read next: unpack.cuh.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/common/mma_sm80.cuh"
#include "kernels/common/status.h"
#include "kernels/gemm/w4a16/launch.h"
#include "kernels/gemm/w4a16/unpack.cuh"

namespace pingti::kernels {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kSteps = kPackedK / 16;
// Of a row in shared memory: rows that a store touches at once lie in different banks.
constexpr int kRowBytes = kPackedK * 2 + 16;

__device__ float ScaleOf(const DequantizeWeightsParams& p, int64_t index) {
  const uint16_t bits = static_cast<const uint16_t*>(p.scales)[index];
  return p.scale_type == ScaleType::kBf16 ? __uint_as_float(static_cast<uint32_t>(bits) << 16)
                                          : __half2float(__ushort_as_half(bits));
}

// What Unpack subtracts in a row and group.
template <int kBits>
__device__ uint32_t OffsetOf(const DequantizeWeightsParams& p, int64_t index) {
  constexpr int kMiddle = kBits == 4 ? 8 : 128;
  const int zero = p.zeros != nullptr ? p.zeros[index] : kMiddle;
  const __nv_bfloat162 pair =
      __float2bfloat162_rn(static_cast<float>(kBits == 4 ? 128 + zero : zero - 128));
  return *reinterpret_cast<const uint32_t*>(&pair);
}

__device__ uint32_t Scaled(uint32_t pair, float scale) {
  const float2 value = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&pair));
  const __nv_bfloat162 out = __floats2bfloat162_rn(value.x * scale, value.y * scale);
  return *reinterpret_cast<const uint32_t*>(&out);
}

template <int kBits>
__global__ void __launch_bounds__(kThreads)
    DequantizeWeightsKernel(const DequantizeWeightsParams p, int group_size) {
  __shared__ __align__(16) uint8_t shared[kWarps][kPackedRows * kRowBytes];
  constexpr int kWordsPerStep = kBits / 4;
  const int lane = threadIdx.x % 32;
  const int chunks = CeilDiv(p.k, kPackedK);
  const int chunk = blockIdx.x * kWarps + threadIdx.x / 32;
  if (chunk >= chunks) return;
  const int row0 = p.first_row + blockIdx.y * kPackedRows;
  const int k0 = chunk * kPackedK;
  uint8_t* rows = shared[threadIdx.x / 32];
  const uint4* block = static_cast<const uint4*>(p.packed) +
                       (int64_t{row0 / kPackedRows} * chunks + chunk) * (32 * kBits) + lane;
#pragma unroll
  for (int slab = 0; slab < 2; ++slab) {
    const int row = row0 + 16 * slab + lane / 4;  // and the one eight below it
    float scale[2] = {};
    uint32_t offset[2] = {};
    int group = -1;
    uint4 vector;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if (const int at = (k0 + 16 * step) / group_size; at != group) {
        group = at;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          // Padding rows and groups read the last ones; what they give is not written.
          const int64_t index =
              int64_t{min(group, (p.k - 1) / group_size)} * p.n + min(row + 8 * i, p.n - 1);
          scale[i] = ScaleOf(p, index);
          offset[i] = OffsetOf<kBits>(p, index);
        }
      }
      const int word = step * kWordsPerStep;  // within the slab
      if (word % 4 == 0) vector = block[32 * (slab * kBits / 2 + word / 4)];
      const uint32_t words[4] = {vector.x, vector.y, vector.z, vector.w};
      uint32_t a[4];
      Unpack<kBits>(a, words + word % 4, offset);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at_row = 16 * slab + lane / 4 + 8 * (i % 2);
        const int at_k = 16 * step + 2 * (lane % 4) + 8 * (i / 2);
        *reinterpret_cast<uint32_t*>(rows + at_row * kRowBytes + 2 * at_k) =
            Scaled(a[i], scale[i % 2]);
      }
    }
  }
  __syncwarp();                                // the block is complete
  constexpr int kVectors = kPackedK * 2 / 16;  // of a row
#pragma unroll 4
  for (int i = lane; i < kPackedRows * kVectors; i += 32) {
    const int row = i / kVectors;
    const int k = k0 + i % kVectors * 8;
    if (row0 + row >= p.first_row + p.num_rows || k >= p.k) continue;
    const int64_t out_row = row0 + row - p.first_row;
    *reinterpret_cast<uint4*>(p.out + out_row * p.k + k) =
        *reinterpret_cast<const uint4*>(rows + row * kRowBytes + i % kVectors * 16);
  }
}

}  // namespace

cudaError_t LaunchDequantizeWeights(const DequantizeWeightsParams& p, cudaStream_t stream) {
  if (p.n < 0 || p.k < 0 || p.k % 8 != 0 || p.group_size <= 0 || p.first_row < 0 ||
      p.first_row % kPackedRows != 0 || p.num_rows < 0 || p.first_row + p.num_rows > p.n) {
    return cudaErrorInvalidValue;
  }
  if (p.num_rows == 0 || p.k == 0) return cudaSuccess;
  if (p.packed == nullptr || p.scales == nullptr || p.out == nullptr || !IsAligned(p.packed, 16) ||
      !IsAligned(p.out, 16)) {
    return cudaErrorInvalidValue;
  }
  const int group_size = p.group_size >= p.k ? CeilDiv(p.k, kPackedK) * kPackedK : p.group_size;
  if (group_size % 16 != 0) return cudaErrorNotSupported;
  const dim3 grid(CeilDiv(CeilDiv(p.k, kPackedK), kWarps), CeilDiv(p.num_rows, kPackedRows));
  if (p.bits == WeightBits::k4) {
    DequantizeWeightsKernel<4><<<grid, kThreads, 0, stream>>>(p, group_size);
  } else {
    DequantizeWeightsKernel<8><<<grid, kThreads, 0, stream>>>(p, group_size);
  }
  return cudaGetLastError();
}

}  // namespace pingti::kernels
