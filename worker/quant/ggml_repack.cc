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

// value = (d * scale) * list[q]: IQ4_NL with another way to store the scale.
void Iq4XsToIq4Nl(const uint8_t* block, uint8_t* out) {
  const float d = LoadF16(block);
  for (int sub = 0; sub < kSubBlocks; ++sub, out += BlockBytes(DType::kIq4Nl)) {
    StoreF16(d * static_cast<float>(Iq4XsScale(block, sub)), out);
    std::memcpy(out + 2, block + 8 + sub * 16, 16);
  }
}

// value = d * (q - 1), q from 0 to 3 as two bits can be.
void TernaryToQ4_0(DType type, const uint8_t* block, uint8_t* out) {
  float values[kSubBlocks * kSubBlockValues];
  Dequantize(type, block, kSubBlocks * kSubBlockValues, values);
  const uint8_t* d = block + (type == DType::kTq1_0 ? 52 : 64);
  const float scale = LoadF16(d);
  const auto q = [scale](float value) {
    return scale == 0.0f ? 8 : 8 + static_cast<int>(std::nearbyint(value / scale));
  };
  for (int sub = 0; sub < kSubBlocks; ++sub, out += BlockBytes(DType::kQ4_0)) {
    const float* of_sub = values + sub * kSubBlockValues;
    std::memcpy(out, d, 2);
    for (int i = 0; i < 16; ++i) {
      out[2 + i] = static_cast<uint8_t>(q(of_sub[i]) | (q(of_sub[i + 16]) << 4));
    }
  }
}

// Integers of at most 127 as they are; more loss than the rounding of `step` to f16 is refused.
bool MultiplesToQ8_0(const float* values, float step, uint8_t* out) {
  StoreF16(step, out);
  if (!(std::fabs(LoadF16(out) - step) <= std::fabs(step) / 1024.0f) || step == 0.0f) return false;
  for (int i = 0; i < kSubBlockValues; ++i) {
    const float q = std::nearbyint(values[i] / step);
    if (!(std::fabs(q) <= 127.0f)) return false;
    out[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(q));
  }
  return true;
}

void RoundedToQ8_0(const float* values, uint8_t* out) {
  float largest = 0.0f;
  for (int i = 0; i < kSubBlockValues; ++i) largest = std::max(largest, std::fabs(values[i]));
  constexpr float kLargestF16 = 65504.0f;
  StoreF16(std::min(largest / 127.0f, kLargestF16), out);
  // Of the scale as it is stored, so that its rounding is not one more error.
  const float scale = LoadF16(out);
  const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
  for (int i = 0; i < kSubBlockValues; ++i) {
    const float q = std::clamp(std::nearbyint(values[i] * inverse), -127.0f, 127.0f);
    out[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(q));
  }
}

// What the values of the block's sub-block `sub` of 32 are multiples of, of a type that
// FitsQ8_0.
float StepOf(DType type, const uint8_t* block, int sub) {
  switch (type) {
    case DType::kQ8_0:
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kIq4Nl:
      return LoadF16(block);
    case DType::kIq4Xs:
      return LoadF16(block) * static_cast<float>(Iq4XsScale(block, sub));
    case DType::kTq1_0:
      return LoadF16(block + 52);
    case DType::kTq2_0:
      return LoadF16(block + 64);
    case DType::kMxfp4:
      return Mxfp4HalfScale(block[0]);
    case DType::kQ3K:
      return LoadF16(block + 108);
    case DType::kIq1S: {
      const int scale = (LoadU16(block + 34 + 2 * sub) >> 12) & 7;
      return LoadF16(block) * static_cast<float>(2 * scale + 1) * 0.125f;
    }
    case DType::kIq2Xxs:
      return LoadF16(block) * (0.5f + static_cast<float>(block[9 + 8 * sub] >> 4)) * 0.25f;
    case DType::kIq3Xxs:
      return LoadF16(block) * (0.5f + static_cast<float>(block[69 + 4 * sub] >> 4)) * 0.5f;
    case DType::kIq3S: {
      const int scale = (block[106 + sub / 2] >> (4 * (sub % 2))) & 15;
      return LoadF16(block) * static_cast<float>(1 + 2 * scale);
    }
    default:
      return 0.0f;
  }
}

}  // namespace

void RepackAsQ8_0(DType type, const uint8_t* block, uint8_t* out) {
  float values[kSubBlocks * kSubBlockValues];
  const auto count = static_cast<int>(BlockElements(type));
  Dequantize(type, block, count, values);
  for (int sub = 0; sub < count / kSubBlockValues; ++sub, out += BlockBytes(DType::kQ8_0)) {
    const float* of_sub = values + sub * kSubBlockValues;
    const float step = FitsQ8_0(type) ? StepOf(type, block, sub) : 0.0f;
    if (step == 0.0f || !MultiplesToQ8_0(of_sub, step, out)) RoundedToQ8_0(of_sub, out);
  }
}

bool FitsQ8_0(DType type) {
  switch (type) {
    case DType::kQ8_0:
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ3K:
    case DType::kIq1S:
    case DType::kIq2Xxs:
    case DType::kIq3Xxs:
    case DType::kIq3S:
    case DType::kIq4Nl:
    case DType::kIq4Xs:
    case DType::kTq1_0:
    case DType::kTq2_0:
    case DType::kMxfp4:
      return true;
    default:
      return false;
  }
}

std::optional<DType> TypeOf32(DType type) {
  switch (type) {
    case DType::kQ8_0:
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kIq4Nl:
      return std::nullopt;
    case DType::kQ4K:
      return DType::kQ4_1;
    case DType::kIq4Xs:
      return DType::kIq4Nl;
    case DType::kTq1_0:
    case DType::kTq2_0:
      return DType::kQ4_0;
    default:
      return IsBlockType(type) ? std::optional(DType::kQ8_0) : std::nullopt;
  }
}

void RepackBlock(DType type, const uint8_t* block, uint8_t* out) {
  const std::optional<DType> type_of_32 = TypeOf32(type);
  PINGTI_CHECK(type_of_32.has_value());
  if (type == DType::kQ4K) return Q4KToQ4_1(block, out);
  if (type == DType::kIq4Xs) return Iq4XsToIq4Nl(block, out);
  if (type_of_32 == DType::kQ4_0) return TernaryToQ4_0(type, block, out);
  RepackAsQ8_0(type, block, out);
}

}  // namespace pingti::worker
