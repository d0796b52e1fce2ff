#include "worker/quant/ggml_repack.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/base/check.h"
#include "worker/quant/ggml_blocks.h"
#include "worker/quant/ggml_sub_blocks.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

constexpr int kSubBlocks = 8;
constexpr int kSubBlockValues = 32;

void StoreF16(float value, uint8_t* out) {
  const uint16_t bits = FloatToF16(value);
  std::memcpy(out, &bits, sizeof(bits));
}

// value = (d * scale) * q - (dmin * min): Q4_1 with another way to store scale and minimum.
void Q4KToQ4_1(const uint8_t* block, uint8_t* out) {
  const float d = LoadF16(block);
  const float dmin = LoadF16(block + 2);
  for (int sub = 0; sub < kSubBlocks; ++sub, out += BlockBytes(DType::kQ4_1)) {
    int scale;
    int min;
    UnpackScaleMin(block + 4, sub, &scale, &min);
    StoreF16(d * static_cast<float>(scale), out);
    StoreF16(-dmin * static_cast<float>(min), out + 2);
    // Sub-blocks 2p and 2p + 1 are the low and high halves of the p-th 32 bytes; Q4_1 pairs value i
    // with value i + 16.
    const uint8_t* packed = block + 16 + sub / 2 * kSubBlockValues;
    const int shift = sub % 2 * 4;
    for (int i = 0; i < 16; ++i) {
      const int low = (packed[i] >> shift) & 15;
      const int high = (packed[i + 16] >> shift) & 15;
      out[4 + i] = static_cast<uint8_t>(low | (high << 4));
    }
  }
}

void ValuesToQ8_0(const float* values, uint8_t* out) {
  float largest = 0.0f;
  for (int i = 0; i < kSubBlockValues; ++i) largest = std::max(largest, std::fabs(values[i]));
  StoreF16(largest / 127.0f, out);
  // Of the scale as it is stored, so that its rounding is not one more error.
  const float scale = LoadF16(out);
  const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
  for (int i = 0; i < kSubBlockValues; ++i) {
    const float q = std::clamp(std::nearbyint(values[i] * inverse), -127.0f, 127.0f);
    out[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(q));
  }
}

}  // namespace

std::optional<DType> TypeOf32(DType k_type) {
  switch (k_type) {
    case DType::kQ4K:
      return DType::kQ4_1;
    case DType::kQ5K:
    case DType::kQ6K:
      return DType::kQ8_0;
    default:
      return std::nullopt;
  }
}

void RepackKBlock(DType k_type, const uint8_t* block, uint8_t* out) {
  PINGTI_CHECK(TypeOf32(k_type).has_value());
  if (k_type == DType::kQ4K) return Q4KToQ4_1(block, out);
  float values[kSubBlocks * kSubBlockValues];
  Dequantize(k_type, block, kSubBlocks * kSubBlockValues, values);
  for (int sub = 0; sub < kSubBlocks; ++sub) {
    ValuesToQ8_0(values + sub * kSubBlockValues, out + sub * BlockBytes(DType::kQ8_0));
  }
}

}  // namespace pingti::worker
