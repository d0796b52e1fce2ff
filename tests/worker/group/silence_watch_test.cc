// Who is heard is not lost; who is not, is, once and in time.
#include "worker/group/silence_watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include "tests/testing/wait_for.h"

namespace pingti::worker {
namespace {

using std::chrono::milliseconds;

TEST(GroupPatience, HoldsATimeoutWithItsSignsAndLooks) {
  for (const int timeout : {500, 2'000, 600'000}) {
    const GroupPatience patience = PatienceFor(milliseconds(timeout));
    // The watch looks ten times in a silence; the last sign may be as old as the time between two.
    EXPECT_LE(patience.silence + 2 * patience.silence / 10, milliseconds(timeout));
    EXPECT_GE(patience.silence, 4 * patience.sign_interval);
  }
}

TEST(SilenceWatch, TellsOnceOfASilence) {
  std::atomic<int> calls{0};
  std::atomic<int64_t> silent{0};
  const GroupPatience patience{milliseconds(10), milliseconds(60)};
  SilenceWatch watch(patience, [&](milliseconds how_long) {
    silent = how_long.count();
    ++calls;
  });
  ASSERT_TRUE(pingti::testing::WaitFor([&] { return calls == 1; }));
  EXPECT_GE(silent, 60);
  watch.Heard();
  EXPECT_EQ(calls, 1);
}

TEST(SilenceWatch, DoesNotTellOfWhoGivesSigns) {
  std::atomic<int> calls{0};
  std::atomic<int> signs{0};
  const GroupPatience patience{milliseconds(5), milliseconds(500)};
  SilenceWatch watch(patience, [&](milliseconds) { ++calls; });
  SignsOfLife life(patience.sign_interval, [&] {
    watch.Heard();
    return ++signs < 200;
  });
  ASSERT_TRUE(pingti::testing::WaitFor([&] { return signs == 200; }));
  EXPECT_EQ(calls, 0);
}

TEST(SignsOfLife, EndsWithItsOwnerAndWhenTheSignFails) {
  std::atomic<int> signs{0};
  {
    SignsOfLife life(milliseconds(3'600'000), [&] { return ++signs > 0; });
    ASSERT_TRUE(pingti::testing::WaitFor([&] { return signs == 1; }));
  }
  SignsOfLife life(milliseconds(1), [&] { return ++signs < 4; });
  ASSERT_TRUE(pingti::testing::WaitFor([&] { return signs == 4; }));
}

}  // namespace
}  // namespace pingti::worker
