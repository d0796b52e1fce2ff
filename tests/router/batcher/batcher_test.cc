#include "router/batcher/batcher.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pingti::router {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;

SequenceJob Job(uint64_t id, int32_t priority = 0, bool resumed = false,
                const std::string& fingerprint = "f") {
  SequenceJob job;
  job.id = id;
  job.priority = priority;
  job.resumed = resumed;
  job.fingerprint = fingerprint;
  job.tokens = 10;
  return job;
}

std::vector<uint64_t> TakeAll(Batcher* batcher, const Batcher::Place& place) {
  std::vector<uint64_t> ids;
  batcher->TakePlaceable(place, [&](SequenceJob job) { ids.push_back(job.id); });
  return ids;
}

TEST(Batcher, OrdersByPriorityThenResumedThenArrival) {
  Batcher batcher;
  batcher.Add(Job(1));
  batcher.Add(Job(2, 5));
  batcher.Add(Job(3));
  batcher.Add(Job(4, 0, /*resumed=*/true));
  EXPECT_EQ(TakeAll(&batcher, [](const SequenceJob&) { return true; }),
            (std::vector<uint64_t>{2, 4, 1, 3}));
  EXPECT_EQ(batcher.size(), 0u);
  EXPECT_EQ(batcher.tokens(), 0u);
}

TEST(Batcher, AModelWithoutRoomDoesNotHoldBackAnother) {
  Batcher batcher;
  batcher.Add(Job(1, 0, false, "full"));
  batcher.Add(Job(2, 0, false, "full"));
  batcher.Add(Job(3, 0, false, "free"));
  int asked = 0;
  EXPECT_EQ(TakeAll(&batcher,
                    [&](const SequenceJob& job) {
                      ++asked;
                      return job.fingerprint == "free";
                    }),
            std::vector<uint64_t>{3});
  EXPECT_EQ(asked, 2) << "the second job of a full model need not be tried";
  EXPECT_EQ(batcher.size(), 2u);
}

TEST(Batcher, AJobThatExcludesWorkersDoesNotSpeakForOthers) {
  Batcher batcher;
  SequenceJob picky = Job(1);
  picky.excluded_workers = {7};
  batcher.Add(std::move(picky));
  batcher.Add(Job(2));
  EXPECT_EQ(TakeAll(&batcher, [](const SequenceJob& job) { return job.id == 2; }),
            std::vector<uint64_t>{2});
}

TEST(Batcher, RemovesAndExpires) {
  Batcher batcher;
  for (uint64_t id : {1, 2, 3}) {
    SequenceJob job = Job(id);
    job.give_up_at = TimePoint(std::chrono::seconds(id));
    batcher.Add(std::move(job));
  }
  SequenceJob removed;
  EXPECT_TRUE(batcher.Remove(2, &removed));
  EXPECT_FALSE(batcher.Remove(2, &removed));
  const auto expired = batcher.TakeExpired(TimePoint(std::chrono::seconds(2)));
  ASSERT_EQ(expired.size(), 1u);
  EXPECT_EQ(expired[0].id, 1u);
  EXPECT_EQ(batcher.size(), 1u);
}

}  // namespace
}  // namespace pingti::router
