// Parts of GGUF blocks that more than one reader here needs. Used by this folder alone.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "worker/tensor/float16.h"

namespace pingti::worker {

inline uint16_t LoadU16(const uint8_t* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

inline uint32_t LoadU32(const uint8_t* p) {
  uint32_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

inline float LoadF16(const uint8_t* p) { return F16ToFloat(LoadU16(p)); }

// The eight 6-bit (scale, min) pairs of Q4_K and Q5_K, packed into 12 bytes: pairs 0..3 lie in the
// low 6 bits of bytes 0..3 and 4..7; pairs 4..7 join the halves of bytes 8..11 with those bytes'
// top bits.
inline void UnpackScaleMin(const uint8_t* packed, int index, int* scale, int* min) {
  if (index < 4) {
    *scale = packed[index] & 63;
    *min = packed[index + 4] & 63;
  } else {
    *scale = (packed[index + 4] & 15) | ((packed[index - 4] >> 6) << 4);
    *min = (packed[index + 4] >> 4) | ((packed[index] >> 6) << 4);
  }
}

// Scale `index` of Q3_K's 16, from -32 to 31: low halves of bytes 0..7, then their high halves;
// two more bits of scales 4j + i in bits 2j of byte 8 + i.
inline int Q3KScale(const uint8_t* packed, int index) {
  const int low = index < 8 ? (packed[index] & 15) : (packed[index - 8] >> 4);
  const int high = (packed[8 + index % 4] >> (2 * (index / 4))) & 3;
  return (low | (high << 4)) - 32;
}

// Scale `sub` of an IQ4_XS block's 8, from -32 to 31.
inline int Iq4XsScale(const uint8_t* block, int sub) {
  const int low = (block[4 + sub / 2] >> (4 * (sub % 2))) & 15;
  const int high = (LoadU16(block + 2) >> (2 * sub)) & 3;
  return (low | (high << 4)) - 32;
}

// Half of the scale that MXFP4 keeps as an exponent: 2^(exponent - 128), whose smallest two are
// subnormal.
inline float Mxfp4HalfScale(uint8_t exponent) {
  const uint32_t bits =
      exponent < 2 ? 0x00200000u << exponent : static_cast<uint32_t>(exponent - 1) << 23;
  return std::bit_cast<float>(bits);
}

// Twice the values of MXFP4's elements.
inline constexpr int8_t kMxfp4DoubledValues[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                                   0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace pingti::worker
