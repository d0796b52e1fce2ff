#include "worker/layers/rotary_table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace pingti::worker {
namespace {

RotarySpec Spec() {
  RotarySpec spec;
  spec.inv_freq = {1.0f, 0.01f};
  spec.max_positions = 64;
  return spec;
}

TEST(RotaryTableTest, GivesCosinesAndSinesOfPositionTimesFrequency) {
  RotaryTable table(Spec());
  const std::vector<int32_t> positions{5, 0, 63};
  std::vector<float> cos(6), sin(6);
  table.Fill(positions, cos, sin);
  for (size_t t = 0; t < positions.size(); ++t) {
    EXPECT_NEAR(cos[2 * t], std::cos(positions[t]), 1e-6);
    EXPECT_NEAR(sin[2 * t + 1], std::sin(positions[t] * 0.01), 1e-6);
  }
}

TEST(RotaryTableTest, DynamicScalingLeavesTheOriginalContextAloneAndSlowsTheRest) {
  RotarySpec spec = Spec();
  spec.dynamic_from = 32;
  spec.factor = 4.0;
  spec.theta = 10000.0;
  RotaryTable dynamic(spec);
  RotaryTable plain(Spec());
  const std::vector<int32_t> positions{31, 60};
  std::vector<float> cos_d(4), sin_d(4), cos_p(4), sin_p(4);
  dynamic.Fill(positions, cos_d, sin_d);
  plain.Fill(positions, cos_p, sin_p);
  EXPECT_EQ(sin_d[1], sin_p[1]);
  EXPECT_LT(sin_d[3], sin_p[3]);
}

TEST(RotaryTableTest, TheOrderInWhichPositionsAreSeenDoesNotMatter) {
  RotaryTable ascending(Spec());
  RotaryTable descending(Spec());
  std::vector<float> cos_a(2), sin_a(2), cos_d(2), sin_d(2);
  for (int32_t p = 0; p < 64; ++p) ascending.Fill(std::vector<int32_t>{p}, cos_a, sin_a);
  descending.Fill(std::vector<int32_t>{63}, cos_d, sin_d);
  EXPECT_EQ(cos_a, cos_d);
  EXPECT_EQ(sin_a, sin_d);
}

}  // namespace
}  // namespace pingti::worker
