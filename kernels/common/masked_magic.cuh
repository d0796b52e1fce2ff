// Small integers to 16-bit floats without conversions: an integer or-ed into the mantissa of a
// float whose unit in the last place is 1 (0x4300 is bf16 128) adds itself. Device code.
#pragma once

#include <cstdint>

namespace pingti::kernels {

// (value & kMask) | kMagic in one instruction; of two constants nvcc would make two.
template <uint32_t kMask, uint32_t kMagic>
__device__ __forceinline__ uint32_t MaskedMagic(uint32_t value) {
  uint32_t out;
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(out) : "r"(value), "n"(kMask), "n"(kMagic));
  return out;
}

}  // namespace pingti::kernels
