// Percentiles out of buckets against those of the sorted values.
#include "tools/bench/latency_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace pingti::tools {
namespace {

using std::chrono::nanoseconds;

// Half a bucket, of which a power of two has 64.
constexpr double kTolerance = 1.0 / 128;

double ExactMs(const std::vector<int64_t>& sorted, double quantile) {
  const double rank = std::max(1.0, std::ceil(quantile * static_cast<double>(sorted.size())));
  return static_cast<double>(sorted[static_cast<size_t>(rank) - 1]) / 1e6;
}

class HistogramOf : public ::testing::TestWithParam<int> {};

// Latencies spread over nine powers of ten, as of a gap within a burst and of a stalled server.
TEST_P(HistogramOf, RandomValuesIsRightToHalfABucket) {
  std::mt19937_64 random(static_cast<uint64_t>(GetParam()));
  std::uniform_real_distribution<double> exponent(0, 9);
  std::vector<int64_t> values(static_cast<size_t>(GetParam()));
  LatencyHistogram histogram;
  double sum_ms = 0;
  for (int64_t& value : values) {
    value = std::llround(std::pow(10, exponent(random)));
    histogram.Add(nanoseconds(value));
    sum_ms += static_cast<double>(value) / 1e6;
  }
  std::sort(values.begin(), values.end());
  EXPECT_EQ(histogram.count(), values.size());
  for (const double quantile : {0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0}) {
    const double exact = ExactMs(values, quantile);
    EXPECT_NEAR(histogram.QuantileMs(quantile), exact, exact * kTolerance)
        << "quantile " << quantile << " of " << values.size();
  }
  EXPECT_NEAR(histogram.MeanMs(), sum_ms / static_cast<double>(values.size()), sum_ms * 1e-12);
  EXPECT_DOUBLE_EQ(histogram.MaxMs(), static_cast<double>(values.back()) / 1e6);
}

INSTANTIATE_TEST_SUITE_P(Sizes, HistogramOf, ::testing::Values(1, 2, 3, 99, 100, 101, 20'000));

TEST(LatencyHistogram, AnEmptyOneIsZero) {
  const LatencyHistogram histogram;
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.QuantileMs(0.5), 0);
  EXPECT_EQ(histogram.MeanMs(), 0);
  EXPECT_EQ(histogram.MaxMs(), 0);
}

TEST(LatencyHistogram, NanosecondsBelow64AreExact) {
  for (int64_t ns = 0; ns < 64; ++ns) {
    LatencyHistogram histogram;
    histogram.Add(nanoseconds(ns));
    EXPECT_DOUBLE_EQ(histogram.QuantileMs(0.5), static_cast<double>(ns) / 1e6);
  }
}

// Every border between buckets, and the longest duration there is.
TEST(LatencyHistogram, EveryPowerOfTwoHasItsPlace) {
  for (int shift = 0; shift < 63; ++shift) {
    for (const int64_t offset : {-1, 0, 1}) {
      const int64_t ns = (int64_t{1} << shift) + offset;
      LatencyHistogram histogram;
      histogram.Add(nanoseconds(ns));
      const double exact = static_cast<double>(ns) / 1e6;
      EXPECT_NEAR(histogram.QuantileMs(1), exact, exact * kTolerance) << ns;
    }
  }
  LatencyHistogram histogram;
  histogram.Add(nanoseconds(std::numeric_limits<int64_t>::max()));
  EXPECT_GT(histogram.QuantileMs(0.5), 9e12);
}

TEST(LatencyHistogram, ANegativeGapCountsAsNone) {
  LatencyHistogram histogram;
  histogram.Add(nanoseconds(-5));
  EXPECT_EQ(histogram.count(), 1u);
  EXPECT_EQ(histogram.MaxMs(), 0);
}

TEST(LatencyHistogram, NoPercentileIsAboveTheLargestValue) {
  LatencyHistogram histogram;
  for (int i = 0; i < 10; ++i) histogram.Add(nanoseconds(1'000'001));
  EXPECT_LE(histogram.QuantileMs(0.99), histogram.MaxMs());
}

}  // namespace
}  // namespace pingti::tools
