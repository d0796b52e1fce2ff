#include "router/registry/breaker.h"

#include <gtest/gtest.h>

namespace pingti::router {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class BreakerTest : public ::testing::Test {
 protected:
  void Fail(int times) {
    for (int i = 0; i < times; ++i) breaker_.OnFailure(now_);
  }
  Breaker::TimePoint now_{seconds(100)};
  Breaker breaker_{{.failures_to_open = 3, .open_for = milliseconds(1000)}};
};

TEST_F(BreakerTest, OpensAfterFailuresInARow) {
  Fail(2);
  EXPECT_TRUE(breaker_.Allows(now_));
  breaker_.OnSuccess();
  Fail(2);
  EXPECT_TRUE(breaker_.Allows(now_));
  Fail(1);
  EXPECT_FALSE(breaker_.Allows(now_));
}

TEST_F(BreakerTest, LetsOneProbeThroughWhenItsTimeIsOver) {
  Fail(3);
  now_ += seconds(1);
  EXPECT_TRUE(breaker_.Allows(now_));
  breaker_.OnSent(now_);
  EXPECT_FALSE(breaker_.Allows(now_));
  breaker_.OnSuccess();
  EXPECT_TRUE(breaker_.Allows(now_));
}

TEST_F(BreakerTest, AFailedProbeOpensItAgain) {
  Fail(3);
  now_ += seconds(1);
  breaker_.OnSent(now_);
  Fail(1);
  EXPECT_FALSE(breaker_.Allows(now_));
  EXPECT_FALSE(breaker_.Allows(now_ + milliseconds(999)));
  EXPECT_TRUE(breaker_.Allows(now_ + seconds(1)));
}

TEST_F(BreakerTest, AProbeThatTellsNothingMakesRoomForAnother) {
  Fail(3);
  now_ += seconds(1);
  breaker_.OnSent(now_);
  breaker_.OnNeutral();
  EXPECT_TRUE(breaker_.Allows(now_));
}

}  // namespace
}  // namespace pingti::router
