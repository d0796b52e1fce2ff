// The arithmetic of the int8 GEMMs' epilogue, shared by their kernels. Device code, any
// architecture.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace pingti::kernels {

__device__ __forceinline__ float2 LoadBf16Pair(const __nv_bfloat16* source) {
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(source));
}

// Two neighbouring columns of one token's row: acc * token_scale * channel_scale + addend, packed.
__device__ __forceinline__ uint32_t ScalePair(int32_t acc0, int32_t acc1, float token_scale,
                                              float2 channel_scale, float2 addend) {
  const float y0 = fmaf(static_cast<float>(acc0) * token_scale, channel_scale.x, addend.x);
  const float y1 = fmaf(static_cast<float>(acc1) * token_scale, channel_scale.y, addend.y);
  const __nv_bfloat162 packed = __floats2bfloat162_rn(y0, y1);
  return *reinterpret_cast<const uint32_t*>(&packed);
}

}  // namespace pingti::kernels
