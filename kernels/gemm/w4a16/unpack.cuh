// Packed 4- and 8-bit weights to bf16 fragments of mma.m16n8k16, in registers. Device code.
// Read next: launch.h (the packed layout), kernel.cuh (who calls it).
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/common/masked_magic.cuh"

namespace pingti::kernels {

__device__ __forceinline__ uint32_t SubtractBf16x2(uint32_t x, uint32_t y) {
  const __nv_bfloat162 difference = __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&x),
                                            *reinterpret_cast<const __nv_bfloat162*>(&y));
  return *reinterpret_cast<const uint32_t*>(&difference);
}

// One A fragment (16 rows x 16 k) out of packed words. 0x4300 is bf16 128, whose unit in the last
// place is 1: or-ing an integer below 128 into it adds the integer. `offset` is per row half what
// to subtract: 128 + zero (4 bits) or zero - 128 (8 bits), twice.
template <int kBits>
__device__ __forceinline__ void Unpack(uint32_t (&a)[4], const uint32_t* words,
                                       const uint32_t (&offset)[2]) {
  if constexpr (kBits == 4) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      a[i] =
          SubtractBf16x2(MaskedMagic<0x000F000F, 0x43004300>(words[0] >> (4 * i)), offset[i % 2]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      // The byte is signed: its low seven bits, less 128 if its sign bit is set. 0x4380 is 256.
      const uint32_t word = words[i / 2] >> (8 * (i % 2));
      const uint32_t value = SubtractBf16x2(MaskedMagic<0x007F007F, 0x43004300>(word),
                                            MaskedMagic<0x00800080, 0x43004300>(word));
      a[i] = SubtractBf16x2(value, offset[i % 2]);
    }
  }
}

// The same of 4-bit floats (E2M1: sign, two bits of exponent, one of mantissa), exactly. Moved to
// their places in bf16 they are 2^126 times too small, since bf16's exponents begin at -126 and
// E2M1's at 0; that holds of subnormal ones, too, which products of bf16 do not flush.
__device__ __forceinline__ void UnpackFp4(uint32_t (&a)[4], const uint32_t* words) {
  const __nv_bfloat162 raise = __halves2bfloat162(__ushort_as_bfloat16(0x7E80),  // 2^126
                                                  __ushort_as_bfloat16(0x7E80));
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t word = words[0] >> (4 * i);
    const uint32_t pair = (word & 0x00070007) << 6 | (word & 0x00080008) << 12;
    const __nv_bfloat162 value = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&pair), raise);
    a[i] = *reinterpret_cast<const uint32_t*>(&value);
  }
}

}  // namespace pingti::kernels
