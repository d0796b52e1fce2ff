#include "worker/backend/sampling_rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

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

TEST(SamplingRngTest, NoiseIsTheGumbelDistributions) {
  constexpr int kTokens = 1 << 16;
  double sum = 0;
  double squares = 0;
  for (int32_t token = 0; token < kTokens; ++token) {
    const double noise = TokenNoise(7, 11, token);
    EXPECT_LE(noise, kMaxNoise);
    sum += noise;
    squares += noise * noise;
  }
  const double mean = sum / kTokens;
  EXPECT_NEAR(mean, std::numbers::egamma, 0.02);
  EXPECT_NEAR(squares / kTokens - mean * mean, std::numbers::pi * std::numbers::pi / 6, 0.05);
}

TEST(SamplingRngTest, NoiseIsFiniteAndExactAtTheEndsOfItsWords) {
  for (const uint32_t word : {0u, 1u, 2u, 1u << 10, 1u << 25, 1u << 31, ~0u - 300, ~0u - 1, ~0u}) {
    // v in float, as it is defined; its logarithms exactly.
    const double v = std::min((static_cast<float>(word) + 0.5f) * 0x1p-32f, 1.0f - 0x1p-24f);
    EXPECT_NEAR(GumbelNoise(word), -std::log(-std::log1p(-v)), 1e-5) << word;
    EXPECT_LE(GumbelNoise(word), kMaxNoise);
  }
  EXPECT_GT(GumbelNoise(0), 22.8f);
}

TEST(SamplingRngTest, NoiseDependsOnSeedPositionAndToken) {
  const float one = TokenNoise(7, 1, 5);
  EXPECT_EQ(TokenNoise(7, 1, 5), one);
  EXPECT_NE(TokenNoise(8, 1, 5), one);
  EXPECT_NE(TokenNoise(uint64_t{1} << 32 | 7, 1, 5), one);
  EXPECT_NE(TokenNoise(7, uint64_t{1} << 32 | 1, 5), one);
  for (const int32_t other : {4, 6, 7, 1, 9, 5 + (1 << 18)}) {
    EXPECT_NE(TokenNoise(7, 1, other), one) << other;
  }
}

}  // namespace
}  // namespace pingti::worker
