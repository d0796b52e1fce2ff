// Eight 16-bit elements at a time: 16-byte loads and stores with conversion to float, and the block
// reduction and int8 rounding that the row kernels (norm, activation, quant) share. Device code.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace pingti::kernels {

__device__ __forceinline__ float2 ToFloat2(__nv_bfloat162 x) { return __bfloat1622float2(x); }
__device__ __forceinline__ float2 ToFloat2(__half2 x) { return __half22float2(x); }

template <class T>
struct Pair;
template <>
struct Pair<__nv_bfloat16> {
  using Type = __nv_bfloat162;
  static __device__ __forceinline__ Type From(float a, float b) {
    return __floats2bfloat162_rn(a, b);
  }
};
template <>
struct Pair<__half> {
  using Type = __half2;
  static __device__ __forceinline__ Type From(float a, float b) { return __floats2half2_rn(a, b); }
};

template <class T>
__device__ __forceinline__ void Unpack8(uint4 raw, float (&x)[8]) {
  using P = typename Pair<T>::Type;
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 two = ToFloat2(reinterpret_cast<const P&>(words[i]));
    x[2 * i] = two.x;
    x[2 * i + 1] = two.y;
  }
}

template <class T>
__device__ __forceinline__ uint4 Pack8(const float (&x)[8]) {
  using P = typename Pair<T>::Type;
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const P two = Pair<T>::From(x[2 * i], x[2 * i + 1]);
    words[i] = reinterpret_cast<const uint32_t&>(two);
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// Eight floats, 16-byte aligned, through the read-only path.
__device__ __forceinline__ void Load8(const float* from, float (&x)[8]) {
  const float4 a = __ldg(reinterpret_cast<const float4*>(from));
  const float4 b = __ldg(reinterpret_cast<const float4*>(from) + 1);
  x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
  x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
}

// Nearest int8, ties to even, of x * inverse; |x * inverse| <= 127 up to rounding.
__device__ __forceinline__ uint32_t Round4(float a, float b, float c, float d, float inverse) {
  const uint32_t ia = __float2int_rn(a * inverse) & 0xFF;
  const uint32_t ib = __float2int_rn(b * inverse) & 0xFF;
  const uint32_t ic = __float2int_rn(c * inverse) & 0xFF;
  const uint32_t id = __float2int_rn(d * inverse) & 0xFF;
  return ia | ib << 8 | ic << 16 | id << 24;
}
__device__ __forceinline__ uint2 Round8(const float (&x)[8], float inverse) {
  return make_uint2(Round4(x[0], x[1], x[2], x[3], inverse),
                    Round4(x[4], x[5], x[6], x[7], inverse));
}

struct SumMax {
  float sum;
  float max;
};

// Sum and maximum over the warp, to every lane.
__device__ __forceinline__ SumMax WarpSumMax(SumMax value) {
#pragma unroll
  for (int delta = 16; delta > 0; delta /= 2) {
    value.sum += __shfl_xor_sync(~0u, value.sum, delta);
    value.max = fmaxf(value.max, __shfl_xor_sync(~0u, value.max, delta));
  }
  return value;
}

// Sum and maximum over the block (a multiple of 32 threads, at most 1024), to every thread.
// `shared` holds one SumMax a warp; one use a kernel (nothing orders a second use after the first).
__device__ __forceinline__ SumMax BlockSumMax(SumMax value, SumMax* shared) {
  value = WarpSumMax(value);
  const int lane = threadIdx.x % 32;
  if (lane == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();  // every warp's value is in place
  return WarpSumMax(lane < blockDim.x / 32 ? shared[lane] : SumMax{0.0f, 0.0f});
}

}  // namespace pingti::kernels
