// Ranks run at once, each on its own thread; the first error is told with its rank, and waits that
// it makes endless are ended.
#include "worker/comm/rank_threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "tests/testing/await.h"

namespace pingti::worker {
namespace {

using testing::AwaitOrDie;

void NoRelease() { ADD_FAILURE() << "nobody waits"; }

TEST(RankThreadsTest, EveryRankRunsOnceAndAlwaysOnItsOwnThread) {
  RankThreads threads(3);
  std::vector<std::thread::id> ids(3);
  const auto note = [&](int rank) {
    ids[static_cast<size_t>(rank)] = std::this_thread::get_id();
    return absl::OkStatus();
  };
  EXPECT_TRUE(threads.Run(note, NoRelease).status.ok());
  const std::vector<std::thread::id> first = ids;
  for (int i = 0; i < 100; ++i) {
    ids.assign(3, {});
    EXPECT_TRUE(threads.Run(note, NoRelease).status.ok());
    EXPECT_EQ(ids, first);
  }
  EXPECT_NE(first[0], first[1]);
  EXPECT_NE(first[1], first[2]);
}

TEST(RankThreadsTest, RanksRunAtTheSameTime) {
  RankThreads threads(2);
  absl::Notification here[2];
  const auto meet = [&](int rank) {
    here[rank].Notify();
    AwaitOrDie(here[1 - rank], "the other rank");
    return absl::OkStatus();
  };
  EXPECT_TRUE(threads.Run(meet, NoRelease).status.ok());
}

TEST(RankThreadsTest, AnErrorOfAllRanksIsTheInputsAndNamesNoRank) {
  RankThreads threads(4);
  const auto outcome =
      threads.Run([](int) { return absl::InvalidArgumentError("token 7"); }, NoRelease);
  EXPECT_TRUE(outcome.agreed);
  EXPECT_EQ(outcome.status, absl::InvalidArgumentError("token 7"));
}

TEST(RankThreadsTest, AnErrorOfOneRankNamesItAndReleasesThoseThatWaitForIt) {
  RankThreads threads(3);
  absl::Notification released;
  std::atomic<int> releases{0};
  const auto call = [&](int rank) -> absl::Status {
    if (rank == 1) return absl::InternalError("broken");
    AwaitOrDie(released, "the ranks to be released");
    return absl::AbortedError("aborted");
  };
  const auto outcome = threads.Run(call, [&] {
    ++releases;
    released.Notify();
  });
  EXPECT_FALSE(outcome.agreed);
  EXPECT_EQ(outcome.status, absl::InternalError("rank 1 of 3: broken"));
  EXPECT_EQ(releases, 1);
}

TEST(RankThreadsTest, RanksThatDisagreeWithoutWaitingAreNotInStep) {
  RankThreads threads(2);
  const auto outcome = threads.Run(
      [](int rank) { return rank == 0 ? absl::OkStatus() : absl::InternalError("broken"); },
      NoRelease);
  EXPECT_FALSE(outcome.agreed);
  EXPECT_EQ(outcome.status, absl::InternalError("rank 1 of 2: broken"));
}

TEST(RankThreadsTest, TellsWhoStillRuns) {
  RankThreads threads(3);
  EXPECT_TRUE(threads.Running().empty());
  absl::Notification go_on;
  std::thread watcher([&] {
    AwaitOrDie([&] { return threads.Running() == std::vector<int>{1}; }, "rank 1 to run alone");
    go_on.Notify();
  });
  const auto call = [&](int rank) {
    if (rank == 1) AwaitOrDie(go_on, "the watcher to see rank 1 alone");
    return absl::OkStatus();
  };
  EXPECT_TRUE(threads.Run(call, NoRelease).status.ok());
  watcher.join();
  EXPECT_TRUE(threads.Running().empty());
}

}  // namespace
}  // namespace pingti::worker
