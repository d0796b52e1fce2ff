#include "worker/engine/step_times.h"

#include <gtest/gtest.h>

#include <chrono>

namespace pingti::worker {
namespace {

using std::chrono::microseconds;

void AddTwice(StepTimes* times, int32_t num_tokens, microseconds duration) {
  times->Add(num_tokens, duration);
  times->Add(num_tokens, duration);
}

TEST(StepTimes, KnowASizeOnceItWasSeenTwice) {
  StepTimes times;
  EXPECT_EQ(times.At(1), 0.0);
  times.Add(1, microseconds(900));
  EXPECT_EQ(times.At(1), 0.0);
  times.Add(1, microseconds(100));
  EXPECT_DOUBLE_EQ(times.At(1), 100e-6) << "the first prepared something";
}

TEST(StepTimes, AreFlatBeyondTheOneSizeThatIsKnownThenALine) {
  StepTimes times;
  AddTwice(&times, 2, microseconds(100));
  EXPECT_DOUBLE_EQ(times.At(1), 50e-6);
  EXPECT_DOUBLE_EQ(times.At(8), 100e-6);
  AddTwice(&times, 4, microseconds(140));
  EXPECT_DOUBLE_EQ(times.At(3), 120e-6);
  EXPECT_DOUBLE_EQ(times.At(8), 220e-6);
  AddTwice(&times, 16, microseconds(200));
  EXPECT_DOUBLE_EQ(times.At(10), 170e-6);
  EXPECT_DOUBLE_EQ(times.At(2), 100e-6);
}

TEST(StepTimes, NeverFallBeyondTheLargestKnown) {
  StepTimes times;
  AddTwice(&times, 4, microseconds(200));
  AddTwice(&times, 8, microseconds(100));  // by chance
  EXPECT_DOUBLE_EQ(times.At(16), 200e-6);
}

TEST(StepTimes, FollowAChangeAndLimitADisturbance) {
  StepTimes times;
  AddTwice(&times, 1, microseconds(100));
  times.Add(1, microseconds(100'000));
  EXPECT_LE(times.At(1), 126e-6);
  for (int i = 0; i < 50; ++i) times.Add(1, microseconds(300));
  EXPECT_NEAR(times.At(1), 300e-6, 1e-6);
}

TEST(StepTimes, ForgetWhatWasNotSeenForLong) {
  StepTimes times;
  AddTwice(&times, 1, microseconds(100));
  AddTwice(&times, 8, microseconds(900));
  EXPECT_DOUBLE_EQ(times.At(8), 900e-6);
  for (int64_t i = 0; i <= StepTimes::kForgetAfter; ++i) times.Add(1, microseconds(100));
  EXPECT_NEAR(times.At(8), 100e-6, 1e-9);
}

TEST(StepTimes, SizesOfAClassShareATime) {
  // Above 16 a class is an eighth of a power of two wide: 65 to 72 are one.
  StepTimes times;
  AddTwice(&times, 65, microseconds(100));
  AddTwice(&times, 128, microseconds(200));
  for (int32_t tokens = 65; tokens <= 72; ++tokens) EXPECT_DOUBLE_EQ(times.At(tokens), 100e-6);
  EXPECT_GT(times.At(73), 100e-6);
}

}  // namespace
}  // namespace pingti::worker
