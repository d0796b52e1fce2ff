// The code books of GGUF's IQ types (source: the GGUF format; part of it, as its block layouts
// are). An entry stands for 8 values of 2 bits, or 4 values of 3 bits, the first in the lowest
// bits; a value is a place in the type's list of magnitudes. Used by this folder alone.
#pragma once

#include <cstdint>

namespace pingti::worker {

extern const uint16_t kIq2XxsGrid[256];  // 8 values of 2 bits
extern const uint16_t kIq2XsGrid[512];
extern const uint16_t kIq2SGrid[1024];
extern const uint16_t kIq3XxsGrid[256];  // 4 values of 3 bits
extern const uint16_t kIq3SGrid[512];
extern const uint16_t kIq1Grid[2048];  // 8 values of 2 bits: -1, 0, 1

// Magnitudes of the types IQ2 and IQ3.
inline constexpr uint8_t kIq2Magnitudes[3] = {8, 25, 43};
inline constexpr uint8_t kIq3XxsMagnitudes[8] = {4, 12, 20, 28, 36, 44, 52, 62};
inline constexpr uint8_t kIq3SMagnitudes[8] = {1, 3, 5, 7, 9, 11, 13, 15};

// Values of IQ4_NL and IQ4_XS.
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace pingti::worker
