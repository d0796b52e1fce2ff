#include "tools/quantize/int4_groups.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "worker/tensor/float16.h"

namespace pingti::tools {
namespace {

using worker::DType;

std::vector<float> RandomGroup(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> group(size);
  for (float& value : group) value = normal(random);
  return group;
}

// The least squared error that any integers of 4 bits have with a scale.
double ErrorWith(const std::vector<float>& group, double scale) {
  double error = 0.0;
  for (const float value : group) {
    double least = std::numeric_limits<double>::infinity();
    for (int q = -8; q <= 7; ++q) least = std::min(least, std::pow(value - scale * q, 2));
    error += least;
  }
  return error;
}

double ErrorOf(const std::vector<float>& group, double scale, const std::vector<int8_t>& q) {
  double error = 0.0;
  for (size_t i = 0; i < group.size(); ++i) error += std::pow(group[i] - scale * q[i], 2);
  return error;
}

float LargestOf(const std::vector<float>& group) {
  float largest = 0.0f;
  for (const float value : group) largest = std::max(largest, std::fabs(value));
  return largest;
}

TEST(QuantizeGroup, IntegersAreTheNearestWithItsScale) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const std::vector<float> group = RandomGroup(1 + seed * 3, seed);
    std::vector<int8_t> q(group.size());
    const float scale = QuantizeGroup(group, DType::kBf16, q);
    const double least = ErrorWith(group, scale);
    EXPECT_NEAR(ErrorOf(group, scale, q), least, 1e-4 * least) << seed;
    for (const int8_t value : q) EXPECT_TRUE(value >= -8 && value <= 7) << int{value};
  }
}

// Beside scales that divide the largest value by 6 to 16, in steps of 0.01.
TEST(QuantizeGroup, ErrorIsNearTheLeastOfAllScalesAndNeverAboveThatWithoutCutting) {
  double total = 0.0;
  double best_total = 0.0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    std::vector<float> group = RandomGroup(128, seed);
    if (seed % 4 == 0) group[seed] *= 4.0f;  // an outlier
    std::vector<int8_t> q(group.size());
    const float scale = QuantizeGroup(group, DType::kBf16, q);
    const double error = ErrorOf(group, scale, q);
    const float plain = worker::Bf16ToFloat(worker::FloatToBf16(LargestOf(group) / 7.0f));
    EXPECT_LE(error, 1.0001 * ErrorWith(group, plain)) << seed;
    double best = error;
    for (int i = 0; i <= 1000; ++i) {
      best = std::min(best, ErrorWith(group, LargestOf(group) / (6.0 + 0.01 * i)));
    }
    EXPECT_LE(error, 1.1 * best) << seed;
    total += error;
    best_total += best;
  }
  std::printf("error over the least of all scales: %.4f\n", total / best_total);
  EXPECT_LE(total, 1.03 * best_total);
}

TEST(QuantizeGroup, ScaleIsANumberOfItsType) {
  const std::vector<float> group = RandomGroup(64, 7);
  std::vector<int8_t> q(group.size());
  const float bf16 = QuantizeGroup(group, DType::kBf16, q);
  EXPECT_EQ(bf16, worker::Bf16ToFloat(worker::FloatToBf16(bf16)));
  const float f16 = QuantizeGroup(group, DType::kF16, q);
  EXPECT_EQ(f16, worker::F16ToFloat(worker::FloatToF16(f16)));
}

TEST(QuantizeGroup, ZerosAndWhatNoScaleIsSmallEnoughForStayFinite) {
  for (const float value : {0.0f, 1e-30f, 1e-42f, 60000.0f}) {
    std::vector<float> group(32, value);
    std::vector<int8_t> q(group.size(), 9);
    for (const DType type : {DType::kF16, DType::kBf16}) {
      const float scale = QuantizeGroup(group, type, q);
      EXPECT_TRUE(std::isfinite(scale) && scale > 0.0f) << value;
      EXPECT_LE(std::fabs(value - scale * static_cast<float>(q[0])),
                0.01f * value + (value < 1e-20f ? 1e-6f : 0.0f));
    }
  }
}

TEST(PackInt4, FirstIsLowestAndTheLastWordIsFilledWithZeros) {
  const std::vector<int8_t> q = {-8, -7, 0, 7, 1, 2, 3, 4, -1, 5};
  std::vector<uint32_t> words(2, 0xffffffffu);
  PackInt4(q, words);
  EXPECT_EQ(words, (std::vector<uint32_t>{0xcba9f810u, 0xd7u}));
}

}  // namespace
}  // namespace pingti::tools
