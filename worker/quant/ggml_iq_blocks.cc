// GGUF types of 256 values that come from code books (ggml_grids.h), with signs apart.
#include <bit>

#include "worker/quant/ggml_block_types.h"
#include "worker/quant/ggml_grids.h"
#include "worker/quant/ggml_sub_blocks.h"

namespace pingti::worker::ggml {
namespace {

// Signs of 8 values from 7 bits: the eighth makes their number even.
uint8_t EvenSigns(uint32_t bits) {
  bits &= 127;
  return static_cast<uint8_t>(bits | ((std::popcount(bits) & 1u) << 7));
}

float Signed(float value, uint8_t signs, int i) { return ((signs >> i) & 1) != 0 ? -value : value; }

// 8 values of an entry of 2 bits each.
void Eight(float scale, uint16_t entry, uint8_t signs, float* out) {
  for (int i = 0; i < 8; ++i) {
    const int magnitude = kIq2Magnitudes[(entry >> (2 * i)) & 3];
    out[i] = Signed(scale * static_cast<float>(magnitude), signs, i);
  }
}

// 8 values of two entries of four values, 3 bits each.
void TwiceFour(float scale, const uint8_t (&magnitudes)[8], uint16_t first, uint16_t second,
               uint8_t signs, float* out) {
  for (int i = 0; i < 8; ++i) {
    const uint16_t entry = i < 4 ? first : second;
    const int magnitude = magnitudes[(entry >> (3 * (i % 4))) & 7];
    out[i] = Signed(scale * static_cast<float>(magnitude), signs, i);
  }
}

// 8 values of -1, 0 and 1, each moved by `delta`.
void EightTernary(float scale, uint16_t entry, float delta, float* out) {
  for (int i = 0; i < 8; ++i) {
    out[i] = scale * (static_cast<float>((entry >> (2 * i)) & 3) - 1.0f + delta);
  }
}

int Half(const uint8_t* bytes, int i) { return (bytes[i / 2] >> (4 * (i % 2))) & 15; }

constexpr float kIq1Delta = 0.125f;

}  // namespace

// f16 d; for each 32 values 4 bytes of places, then a word of 4 x 7 bits of signs and 4 of scale.
void Iq2Xxs(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  for (int sub = 0; sub < 8; ++sub) {
    const uint8_t* places = block + 2 + sub * 8;
    const uint32_t word = LoadU32(places + 4);
    const float scale = d * (0.5f + static_cast<float>(word >> 28)) * 0.25f;
    for (int k = 0; k < 4; ++k, out += 8) {
      Eight(scale, kIq2XxsGrid[places[k]], EvenSigns(word >> (7 * k)), out);
    }
  }
}

// f16 d; 32 words of a 9-bit place and 7 bits of signs; 8 bytes of 4-bit scales of 16 values each.
void Iq2Xs(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  for (int k = 0; k < 32; ++k, out += 8) {
    const uint16_t word = LoadU16(block + 2 + 2 * k);
    const float scale = d * (0.5f + static_cast<float>(Half(block + 66, k / 2))) * 0.25f;
    Eight(scale, kIq2XsGrid[word & 511], EvenSigns(word >> 9), out);
  }
}

// f16 d; 32 bytes of places; 32 bytes of signs; 8 bytes with two more bits of each place; 8 bytes
// of 4-bit scales of 16 values each.
void Iq2S(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  for (int k = 0; k < 32; ++k, out += 8) {
    const int high = (block[66 + k / 4] >> (2 * (k % 4))) & 3;
    const float scale = d * (0.5f + static_cast<float>(Half(block + 74, k / 2))) * 0.25f;
    Eight(scale, kIq2SGrid[block[2 + k] | (high << 8)], block[34 + k], out);
  }
}

// f16 d; 64 bytes of places; for each 32 values a word of signs and scale as of IQ2_XXS.
void Iq3Xxs(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  for (int sub = 0; sub < 8; ++sub) {
    const uint8_t* places = block + 2 + sub * 8;
    const uint32_t word = LoadU32(block + 66 + sub * 4);
    const float scale = d * (0.5f + static_cast<float>(word >> 28)) * 0.5f;
    for (int k = 0; k < 4; ++k, out += 8) {
      TwiceFour(scale, kIq3XxsMagnitudes, kIq3XxsGrid[places[2 * k]],
                kIq3XxsGrid[places[2 * k + 1]], EvenSigns(word >> (7 * k)), out);
    }
  }
}

// f16 d; 64 bytes of places; 8 bytes with one more bit of each place; 32 bytes of signs; 4 bytes of
// 4-bit scales of 32 values each.
void Iq3S(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  const auto entry = [block](int i) {
    const int high = (block[66 + i / 8] >> (i % 8)) & 1;
    return kIq3SGrid[block[2 + i] | (high << 8)];
  };
  for (int k = 0; k < 32; ++k, out += 8) {
    const float scale = d * static_cast<float>(1 + 2 * Half(block + 106, k / 4));
    TwiceFour(scale, kIq3SMagnitudes, entry(2 * k), entry(2 * k + 1), block[74 + k], out);
  }
}

// f16 d; 32 bytes of places; for each 32 values a word of 4 x 3 more bits of the places, a 3-bit
// scale, and the sign of delta.
void Iq1S(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  for (int sub = 0; sub < 8; ++sub) {
    const uint16_t word = LoadU16(block + 34 + 2 * sub);
    const float scale = d * static_cast<float>(2 * ((word >> 12) & 7) + 1);
    const float delta = (word & 0x8000) != 0 ? -kIq1Delta : kIq1Delta;
    for (int k = 0; k < 4; ++k, out += 8) {
      const int place = block[2 + sub * 4 + k] | (((word >> (3 * k)) & 7) << 8);
      EightTernary(scale, kIq1Grid[place], delta, out);
    }
  }
}

// 32 bytes of places; 16 bytes of two halves: 3 more bits of a place, and the sign of delta; 4
// words of 4 x 3-bit scales of 16 values each, whose top 4 bits together are the f16 d.
void Iq1M(const uint8_t* block, float* out) {
  const uint8_t* words = block + 48;
  uint16_t bits = 0;
  for (int i = 0; i < 4; ++i) {
    bits = static_cast<uint16_t>(bits | ((LoadU16(words + 2 * i) >> 12) << (4 * i)));
  }
  const float d = F16ToFloat(bits);
  for (int k = 0; k < 32; ++k, out += 8) {
    const int half = Half(block + 32, k);
    const int group = k / 2;  // of 16 values
    const int scale = (LoadU16(words + 2 * (group / 4)) >> (3 * (group % 4))) & 7;
    const float delta = (half & 8) != 0 ? -kIq1Delta : kIq1Delta;
    EightTernary(d * static_cast<float>(2 * scale + 1), kIq1Grid[block[k] | ((half & 7) << 8)],
                 delta, out);
  }
}

// f16 d; a word of 8 x 2 high bits and 4 bytes of low halves of 6-bit scales; 128 bytes of nibbles,
// 32 values in each 16 bytes as in IQ4_NL.
void Iq4Xs(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  for (int sub = 0; sub < 8; ++sub) {
    const float scale = d * static_cast<float>(Iq4XsScale(block, sub));
    const uint8_t* nibbles = block + 8 + sub * 16;
    for (int i = 0; i < 32; ++i, ++out) {
      const int place = i < 16 ? (nibbles[i] & 15) : (nibbles[i - 16] >> 4);
      *out = scale * static_cast<float>(kIq4Values[place]);
    }
  }
}

}  // namespace pingti::worker::ggml
