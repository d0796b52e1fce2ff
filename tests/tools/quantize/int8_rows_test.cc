#include "tools/quantize/int8_rows.h"

#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "worker/tensor/float16.h"

namespace pingti::tools {
namespace {

std::vector<float> RandomRow(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> row(size);
  for (float& value : row) value = normal(random);
  return row;
}

TEST(QuantizeRow, IsOffByAtMostHalfAStep) {
  for (const bool bf16 : {false, true}) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
      const std::vector<float> row = RandomRow(129, seed);
      std::vector<int8_t> q(row.size());
      const float scale = QuantizeRow(row, bf16, q);
      for (size_t i = 0; i < row.size(); ++i) {
        EXPECT_LE(std::fabs(row[i] - scale * static_cast<float>(q[i])), 0.5001f * scale)
            << "seed " << seed << ", value " << i;
        EXPECT_GE(q[i], -127);
      }
    }
  }
}

TEST(QuantizeRow, UsesTheWholeRangeWithAnF32Scale) {
  const std::vector<float> row = {0.5f, -2.54f, 0.0f};
  std::vector<int8_t> q(3);
  EXPECT_FLOAT_EQ(QuantizeRow(row, false, q), 0.02f);
  EXPECT_EQ(q, (std::vector<int8_t>{25, -127, 0}));
}

TEST(QuantizeRow, GivesAScaleThatBf16Holds) {
  const std::vector<float> row = RandomRow(64, 7);
  std::vector<int8_t> q(row.size());
  const float scale = QuantizeRow(row, true, q);
  EXPECT_EQ(scale, worker::Bf16ToFloat(worker::FloatToBf16(scale)));
}

TEST(QuantizeRow, ARowOfZerosStaysZero) {
  const std::vector<float> row(5, 0.0f);
  std::vector<int8_t> q(5, 9);
  EXPECT_EQ(QuantizeRow(row, true, q), 1.0f);
  EXPECT_EQ(q, std::vector<int8_t>(5, 0));
}

TEST(SmoothingScales, FollowTheFormulaAndLeaveDeadChannelsAlone) {
  const std::vector<float> input = {100.0f, 1.0f, 0.0f, 3.0f};
  const std::vector<float> weight = {0.25f, 0.25f, 1.0f, 0.0f};
  const std::vector<float> scales = SmoothingScales(input, weight, 0.5);
  EXPECT_FLOAT_EQ(scales[0], 20.0f);  // sqrt(100 / 0.25)
  EXPECT_FLOAT_EQ(scales[1], 2.0f);
  EXPECT_EQ(scales[2], 1.0f);
  EXPECT_EQ(scales[3], 1.0f);
}

TEST(RelativeErrorSum, IsTheRatioOfTheNorms) {
  RelativeErrorSum sum;
  EXPECT_EQ(sum.Value(), 0.0);
  sum.Add(std::vector<float>{3.0f}, std::vector<float>{3.0f});
  sum.Add(std::vector<float>{4.0f}, std::vector<float>{4.5f});
  EXPECT_DOUBLE_EQ(sum.Value(), 0.1);
}

}  // namespace
}  // namespace pingti::tools
