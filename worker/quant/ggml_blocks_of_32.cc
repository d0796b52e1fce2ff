// GGUF types whose blocks hold 32 values. Value i is in the low half of byte i of the nibbles,
// value i + 16 in the high half.
#include <bit>

#include "worker/quant/ggml_block_types.h"
#include "worker/quant/ggml_grids.h"
#include "worker/quant/ggml_sub_blocks.h"

namespace pingti::worker::ggml {
namespace {

int Nibble(const uint8_t* nibbles, int i) {
  return i < 16 ? (nibbles[i] & 15) : (nibbles[i - 16] >> 4);
}

// The nibble with a fifth bit, bit i of the 32 at `high`.
int FiveBits(const uint8_t* nibbles, const uint8_t* high, int i) {
  return Nibble(nibbles, i) | (((high[i / 8] >> (i % 8)) & 1) << 4);
}

}  // namespace

// f16 scale, 32 x int8.
void Q8_0(const uint8_t* block, float* out) {
  const float scale = LoadF16(block);
  for (int i = 0; i < 32; ++i)
    out[i] = scale * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

// f16 scale, 16 bytes of nibbles.
void Q4_0(const uint8_t* block, float* out) {
  const float scale = LoadF16(block);
  for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(Nibble(block + 2, i) - 8);
}

// f16 scale, f16 minimum, 16 bytes of nibbles.
void Q4_1(const uint8_t* block, float* out) {
  const float scale = LoadF16(block);
  const float min = LoadF16(block + 2);
  for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(Nibble(block + 4, i)) + min;
}

// f16 scale, 4 bytes of fifth bits, 16 bytes of nibbles.
void Q5_0(const uint8_t* block, float* out) {
  const float scale = LoadF16(block);
  for (int i = 0; i < 32; ++i) {
    out[i] = scale * static_cast<float>(FiveBits(block + 6, block + 2, i) - 16);
  }
}

// f16 scale, f16 minimum, 4 bytes of fifth bits, 16 bytes of nibbles.
void Q5_1(const uint8_t* block, float* out) {
  const float scale = LoadF16(block);
  const float min = LoadF16(block + 2);
  for (int i = 0; i < 32; ++i) {
    out[i] = scale * static_cast<float>(FiveBits(block + 8, block + 4, i)) + min;
  }
}

// f16 scale, 16 bytes of nibbles, each a place in a list of values.
void Iq4Nl(const uint8_t* block, float* out) {
  const float scale = LoadF16(block);
  for (int i = 0; i < 32; ++i) {
    out[i] = scale * static_cast<float>(kIq4Values[Nibble(block + 2, i)]);
  }
}

// A power of two, 16 bytes of nibbles (source: OCP Microscaling Formats, MXFP4: E2M1 elements).
void Mxfp4(const uint8_t* block, float* out) {
  const float scale = Mxfp4HalfScale(block[0]);
  for (int i = 0; i < 32; ++i) {
    out[i] = scale * static_cast<float>(kMxfp4DoubledValues[Nibble(block + 1, i)]);
  }
}

}  // namespace pingti::worker::ggml
