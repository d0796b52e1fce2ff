// Packed 4- and 8-bit weights to bf16 fragments of mma.m16n8k16, in registers. Device code.
// Read next: launch.h (the packed layout), kernel.cuh (who calls it).
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace pingti::kernels {

__device__ __forceinline__ uint32_t SubtractBf16x2(uint32_t x, uint32_t y) {
  const __nv_bfloat162 difference = __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&x),
                                            *reinterpret_cast<const __nv_bfloat162*>(&y));
  return *reinterpret_cast<const uint32_t*>(&difference);
}

// (value & mask) | magic in one instruction.
template <uint32_t kMask, uint32_t kMagic>
__device__ __forceinline__ uint32_t MaskedMagic(uint32_t value) {
  uint32_t out;
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(out) : "r"(value), "n"(kMask), "n"(kMagic));
  return out;
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

}  // namespace pingti::kernels
