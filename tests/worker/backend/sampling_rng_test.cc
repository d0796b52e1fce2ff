#include "worker/backend/sampling_rng.h"

#include <gtest/gtest.h>

namespace pingti::worker {
namespace {

// Known answers of the Random123 distribution (kat_vectors, philox4x32 with 10 rounds).
TEST(SamplingRngTest, PhiloxGivesTheKnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(SamplingRngTest, UniformsAreInRangeAndDependOnSeedAndPosition) {
  double sum = 0.0;
  for (uint64_t position = 0; position < 4096; ++position) {
    const float u = SamplingUniform(7, position);
    EXPECT_GE(u, 0.0f);
    EXPECT_LT(u, 1.0f);
    sum += static_cast<double>(u);
  }
  EXPECT_NEAR(sum / 4096, 0.5, 0.02);
  EXPECT_NE(SamplingUniform(7, 1), SamplingUniform(8, 1));
  EXPECT_NE(SamplingUniform(7, 1), SamplingUniform(7, uint64_t{1} << 32 | 1));
}

}  // namespace
}  // namespace pingti::worker
