#include "worker/tensor/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace pingti::worker {
namespace {

TEST(Float16Test, EveryHalfReadsBackAsItself) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = F16ToFloat(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(F16ToFloat(FloatToF16(value))));
    } else {
      EXPECT_EQ(FloatToF16(value), bits);
    }
  }
}

TEST(Float16Test, HalvesHaveTheirKnownValues) {
  EXPECT_EQ(F16ToFloat(0x3c00), 1.0f);
  EXPECT_EQ(F16ToFloat(0xc000), -2.0f);
  EXPECT_EQ(F16ToFloat(0x7bff), 65504.0f);
  EXPECT_EQ(F16ToFloat(0x0001), 0x1p-24f);
  EXPECT_EQ(F16ToFloat(0x7c00), std::numeric_limits<float>::infinity());
}

TEST(Float16Test, RoundsHalfwayToEven) {
  EXPECT_EQ(FloatToF16(1.0f + 0x1p-11f), 0x3c00);
  EXPECT_EQ(FloatToF16(1.0f + 3 * 0x1p-11f), 0x3c02);
  EXPECT_EQ(FloatToF16(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToF16(65519.0f), 0x7bff);
  EXPECT_EQ(FloatToBf16(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(FloatToBf16(1.0f + 3 * 0x1p-8f), 0x3f82);
  EXPECT_TRUE(std::isnan(Bf16ToFloat(FloatToBf16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(Float8, EveryNumberIsItsDefinition) {
  for (int bits = 0; bits < 256; ++bits) {
    const float value = F8E4M3ToFloat(static_cast<uint8_t>(bits));
    const int exponent = bits >> 3 & 15;
    const int mantissa = bits & 7;
    if (exponent == 15 && mantissa == 7) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      continue;
    }
    const double magnitude =
        exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    EXPECT_EQ(value, bits >= 128 ? -magnitude : magnitude) << bits;
    EXPECT_EQ(std::signbit(value), bits >= 128) << bits;
  }
}

}  // namespace
}  // namespace pingti::worker
