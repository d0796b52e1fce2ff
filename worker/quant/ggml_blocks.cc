#include "worker/quant/ggml_blocks.h"

#include <cstring>

#include "common/base/check.h"
#include "worker/quant/ggml_sub_blocks.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

// f16 scale, 32 x int8.
void Q8_0(const uint8_t* block, float* out) {
  const float scale = LoadF16(block);
  for (int i = 0; i < 32; ++i)
    out[i] = scale * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

// f16 scale, 16 bytes; value i is the low half of byte i, value i + 16 the high half.
void Q4_0(const uint8_t* block, float* out) {
  const float scale = LoadF16(block);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>((block[2 + i] & 15) - 8);
    out[i + 16] = scale * static_cast<float>((block[2 + i] >> 4) - 8);
  }
}

// f16 scale, f16 minimum, 16 bytes as in Q4_0.
void Q4_1(const uint8_t* block, float* out) {
  const float scale = LoadF16(block);
  const float min = LoadF16(block + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(block[4 + i] & 15) + min;
    out[i + 16] = scale * static_cast<float>(block[4 + i] >> 4) + min;
  }
}

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

void DequantizeBlock(DType dtype, const uint8_t* block, float* out) {
  switch (dtype) {
    case DType::kQ8_0:
      return Q8_0(block, out);
    case DType::kQ4_0:
      return Q4_0(block, out);
    case DType::kQ4_1:
      return Q4_1(block, out);
    case DType::kQ4K:
      return QkWithMins(block, /*five_bits=*/false, out);
    case DType::kQ5K:
      return QkWithMins(block, /*five_bits=*/true, out);
    case DType::kQ6K:
      return Q6K(block, out);
    default:
      PINGTI_CHECK_MSG(false, "not a block type");
  }
}

}  // namespace

bool CanDequantize(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBf16 ||
         dtype == DType::kI8 || IsBlockType(dtype);
}

void Dequantize(DType dtype, const void* source, int64_t count, float* out) {
  PINGTI_CHECK(CanDequantize(dtype) && count % BlockElements(dtype) == 0);
  const auto* bytes = static_cast<const uint8_t*>(source);
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, bytes, static_cast<size_t>(count) * 4);
      return;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) out[i] = LoadF16(bytes + 2 * i);
      return;
    case DType::kBf16:
      for (int64_t i = 0; i < count; ++i) out[i] = Bf16ToFloat(LoadU16(bytes + 2 * i));
      return;
    case DType::kI8:
      for (int64_t i = 0; i < count; ++i)
        out[i] = static_cast<float>(static_cast<int8_t>(bytes[i]));
      return;
    default:
      break;
  }
  const int64_t elements = BlockElements(dtype);
  for (int64_t b = 0; b < count / elements; ++b) {
    DequantizeBlock(dtype, bytes + b * BlockBytes(dtype), out + b * elements);
  }
}

}  // namespace pingti::worker
