// GGUF types of 256 values with scales of sub-blocks (K), and the ternary ones.
#include "worker/quant/ggml_block_types.h"
#include "worker/quant/ggml_sub_blocks.h"

namespace pingti::worker::ggml {
namespace {

// f16 d, f16 dmin, 12 bytes of scales, then (Q5_K) 32 bytes of fifth bits, 128 bytes of nibbles.
// Sub-blocks 2p and 2p+1 are the low and high halves of the p-th 32 bytes.
void QkWithMins(const uint8_t* block, bool five_bits, float* out) {
  const float d = LoadF16(block);
  const float dmin = LoadF16(block + 2);
  const uint8_t* scales = block + 4;
  const uint8_t* high = block + 16;
  const uint8_t* low = block + (five_bits ? 48 : 16);
  for (int sub = 0; sub < 8; ++sub) {
    int scale;
    int min;
    UnpackScaleMin(scales, sub, &scale, &min);
    const float sub_scale = d * static_cast<float>(scale);
    const float sub_min = dmin * static_cast<float>(min);
    for (int i = 0; i < 32; ++i) {
      const uint8_t byte = low[(sub / 2) * 32 + i];
      int q = (sub % 2 == 0) ? (byte & 15) : (byte >> 4);
      if (five_bits) q |= ((high[i] >> sub) & 1) << 4;
      out[sub * 32 + i] = sub_scale * static_cast<float>(q) - sub_min;
    }
  }
}

// Value i of 256 that lie two bits each in 64 bytes: four of 32 values in each 32 bytes.
int TwoBits(const uint8_t* bytes, int i) {
  return (bytes[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4))) & 3;
}

}  // namespace

void Q4K(const uint8_t* block, float* out) { QkWithMins(block, /*five_bits=*/false, out); }
void Q5K(const uint8_t* block, float* out) { QkWithMins(block, /*five_bits=*/true, out); }

// 16 bytes of scales (low halves) and minimums (high halves) of 16 values each, 64 bytes of 2-bit
// values, f16 d, f16 dmin.
void Q2K(const uint8_t* block, float* out) {
  const float d = LoadF16(block + 80);
  const float dmin = LoadF16(block + 82);
  for (int i = 0; i < 256; ++i) {
    const uint8_t scales = block[i / 16];
    const float scale = d * static_cast<float>(scales & 15);
    const float min = dmin * static_cast<float>(scales >> 4);
    out[i] = scale * static_cast<float>(TwoBits(block + 16, i)) - min;
  }
}

// 32 bytes of third bits (4 is taken away where the bit is 0), 64 bytes of 2-bit values, 12 bytes
// of 6-bit scales of 16 values each, f16 d.
void Q3K(const uint8_t* block, float* out) {
  const float d = LoadF16(block + 108);
  for (int i = 0; i < 256; ++i) {
    const float scale = d * static_cast<float>(Q3KScale(block + 96, i / 16));
    const int high = (block[i % 32] >> (i / 32)) & 1;
    out[i] = scale * static_cast<float>(TwoBits(block + 32, i) - (high != 0 ? 0 : 4));
  }
}

// 128 bytes of low nibbles, 64 bytes of high 2-bit pairs, 16 x int8 scales, f16 d. Each half of the
// block (128 values) takes 64 low bytes and 32 high bytes.
void Q6K(const uint8_t* block, float* out) {
  const float d = LoadF16(block + 208);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* low = block + half * 64;
    const uint8_t* high = block + 128 + half * 32;
    const uint8_t* scales = block + 192 + half * 8;
    for (int i = 0; i < 128; ++i) {
      const int quarter = i / 32;
      const uint8_t byte = low[(quarter % 2) * 32 + i % 32];
      const int nibble = quarter < 2 ? (byte & 15) : (byte >> 4);
      const int q = (nibble | (((high[i % 32] >> (2 * quarter)) & 3) << 4)) - 32;
      const float scale = static_cast<float>(static_cast<int8_t>(scales[i / 16]));
      out[half * 128 + i] = d * scale * static_cast<float>(q);
    }
  }
}

// 52 bytes that hold five or four ternary digits each, f16 d: 32 bytes with digits of 5 x 32
// values, 16 with 5 x 16, 4 with 4 x 4. A byte is a fraction of 256 in base 3; its next digit is
// the whole part of three times it.
void Tq1_0(const uint8_t* block, float* out) {
  const float d = LoadF16(block + 52);
  const auto digits = [&](const uint8_t* bytes, int count, int num_digits) {
    int power = 1;
    for (int n = 0; n < num_digits; ++n, power *= 3) {
      for (int i = 0; i < count; ++i) {
        const auto rest = static_cast<uint8_t>(bytes[i] * power);
        *out++ = d * static_cast<float>((rest * 3 >> 8) - 1);
      }
    }
  };
  digits(block, 32, 5);
  digits(block + 32, 16, 5);
  digits(block + 48, 4, 4);
}

// 64 bytes of 2-bit values, f16 d.
void Tq2_0(const uint8_t* block, float* out) {
  const float d = LoadF16(block + 64);
  for (int i = 0; i < 256; ++i) out[i] = d * static_cast<float>(TwoBits(block, i) - 1);
}

}  // namespace pingti::worker::ggml
