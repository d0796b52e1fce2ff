#include "router/admission/minute_bucket.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <utility>

namespace pingti::router {
namespace {

using std::chrono::milliseconds;
using TimePoint = MinuteBucket::TimePoint;

constexpr TimePoint kStart{std::chrono::hours(1)};

TEST(MinuteBucket, NoMinuteGetsMoreThanTwiceTheLimit) {
  // A full bucket and what flows in meanwhile: the bound of every token bucket.
  constexpr uint64_t kLimit = 120;
  std::mt19937_64 random(5);
  MinuteBucket bucket(kLimit, kStart);
  TimePoint now = kStart;
  std::deque<std::pair<TimePoint, double>> taken;  // in the last minute
  double in_minute = 0;
  for (int i = 0; i < 20'000; ++i) {
    now += milliseconds(random() % 700);
    const double amount = static_cast<double>(1 + random() % 20);
    if (bucket.WaitFor(amount, now).count() > 0) continue;
    bucket.Take(amount, now);
    taken.emplace_back(now, amount);
    in_minute += amount;
    while (taken.front().first < now - std::chrono::minutes(1)) {
      in_minute -= taken.front().second;
      taken.pop_front();
    }
    ASSERT_LE(in_minute, 2 * kLimit);
  }
}

TEST(MinuteBucket, TheTimeItNamesIsExact) {
  std::mt19937_64 random(6);
  for (int i = 0; i < 2'000; ++i) {
    const uint64_t limit = 1 + random() % 5'000;
    MinuteBucket bucket(limit, kStart);
    bucket.Take(static_cast<double>(random() % (3 * limit)), kStart);
    const double amount = static_cast<double>(random() % (2 * limit));
    const double wait_s = bucket.WaitFor(amount, kStart).count();
    const auto at = [&](double seconds) {
      return kStart + std::chrono::duration_cast<TimePoint::duration>(
                          std::chrono::duration<double>(std::max(seconds, 0.0)));
    };
    EXPECT_LE(bucket.WaitFor(amount, at(wait_s + 1e-3)).count(), 0);
    if (wait_s > 0.01) EXPECT_GT(bucket.WaitFor(amount, at(wait_s - 5e-3)).count(), 0);
  }
}

TEST(MinuteBucket, DebtIsPaidBack) {
  MinuteBucket bucket(60, kStart);
  bucket.Take(90, kStart);
  EXPECT_EQ(bucket.Level(kStart), -30);
  EXPECT_NEAR(bucket.WaitFor(1, kStart).count(), 31, 1e-9);
  bucket.Take(-100, kStart);
  EXPECT_EQ(bucket.Level(kStart), 60) << "never more than the limit";
}

}  // namespace
}  // namespace pingti::router
