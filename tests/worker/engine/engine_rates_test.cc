// Rates of recent steps.
#include "worker/engine/engine_rates.h"

#include <gtest/gtest.h>

namespace pingti::worker {
namespace {

StepStats Of(int milliseconds, int32_t prefill, int32_t decode) {
  StepStats stats;
  stats.duration = std::chrono::milliseconds(milliseconds);
  stats.num_tokens = prefill + decode;
  stats.num_decode_tokens = decode;
  return stats;
}

TEST(EngineRates, AreZeroBeforeTheFirstStep) {
  const EngineRates rates;
  EXPECT_EQ(rates.prefill_tokens_per_s(), 0.0);
  EXPECT_EQ(rates.decode_tokens_per_s(), 0.0);
  EXPECT_EQ(rates.step_ms(), 0.0);
}

TEST(EngineRates, EqualStepsGiveTheirRateFromTheFirstOneOn) {
  EngineRates rates;
  for (int i = 0; i < 5; ++i) {
    rates.Add(Of(20, 0, 8));
    EXPECT_DOUBLE_EQ(rates.decode_tokens_per_s(), 400.0);
    EXPECT_EQ(rates.prefill_tokens_per_s(), 0.0);
  }
}

TEST(EngineRates, AStepCountsOnlyForTheKindsOfTokensThatItHas) {
  EngineRates rates;
  rates.Add(Of(10, 100, 0));
  for (int i = 0; i < 50; ++i) rates.Add(Of(1, 0, 4));
  EXPECT_DOUBLE_EQ(rates.prefill_tokens_per_s(), 10'000.0);
  EXPECT_DOUBLE_EQ(rates.decode_tokens_per_s(), 4'000.0);
}

TEST(EngineRates, RecentStepsWeighMore) {
  EngineRates rates;
  for (int i = 0; i < 100; ++i) rates.Add(Of(10, 0, 10));
  EXPECT_NEAR(rates.step_ms(), 10.0, 0.01);
  for (int i = 0; i < 100; ++i) rates.Add(Of(20, 0, 10));
  EXPECT_NEAR(rates.step_ms(), 20.0, 0.01);
  EXPECT_NEAR(rates.decode_tokens_per_s(), 500.0, 1.0);
}

}  // namespace
}  // namespace pingti::worker
