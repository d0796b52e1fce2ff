// Parts of GGUF blocks that more than one reader here needs. Used by this folder alone.
#pragma once

#include <cstdint>
#include <cstring>

#include "worker/tensor/float16.h"

namespace pingti::worker {

inline uint16_t LoadU16(const uint8_t* p) {
  uint16_t value;
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

}  // namespace pingti::worker
