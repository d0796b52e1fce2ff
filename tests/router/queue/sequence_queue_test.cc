#include "router/queue/sequence_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "router/queue/fair_order.h"
#include "router/queue/fifo_order.h"

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

using Placed = SequenceQueue::Placed;

std::vector<uint64_t> TakePlaced(SequenceQueue* queue, const SequenceQueue::Place& place) {
  std::vector<uint64_t> ids;
  queue->TakePlaceable(place, [&](SequenceJob job) { ids.push_back(job.id); });
  return ids;
}

std::vector<uint64_t> TakeAll(SequenceQueue* queue,
                              const std::function<bool(const SequenceJob&)>& has_worker) {
  return TakePlaced(
      queue, [&](const SequenceJob& job) { return has_worker(job) ? Placed::kYes : Placed::kNo; });
}

TEST(SequenceQueue, OrdersByPriorityThenResumedThenArrival) {
  SequenceQueue queue(std::make_unique<FifoOrder>());
  queue.Add(Job(1));
  queue.Add(Job(2, 5));
  queue.Add(Job(3));
  queue.Add(Job(4, 0, /*resumed=*/true));
  EXPECT_EQ(TakeAll(&queue, [](const SequenceJob&) { return true; }),
            (std::vector<uint64_t>{2, 4, 1, 3}));
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_EQ(queue.tokens(), 0u);
}

TEST(SequenceQueue, AModelWithoutRoomDoesNotHoldBackAnother) {
  SequenceQueue queue(std::make_unique<FifoOrder>());
  queue.Add(Job(1, 0, false, "full"));
  queue.Add(Job(2, 0, false, "full"));
  queue.Add(Job(3, 0, false, "free"));
  int asked = 0;
  EXPECT_EQ(TakeAll(&queue,
                    [&](const SequenceJob& job) {
                      ++asked;
                      return job.fingerprint == "free";
                    }),
            std::vector<uint64_t>{3});
  EXPECT_EQ(asked, 2) << "the second job of a full model need not be tried";
  EXPECT_EQ(queue.size(), 2u);
}

TEST(SequenceQueue, AJobThatNeedsALargeContextDoesNotHoldUpSmallerOnes) {
  SequenceQueue queue(std::make_unique<FifoOrder>());
  for (const auto& [id, context] : std::map<uint64_t, uint32_t>{
           {1, 5'000}, {2, 6'000}, {3, 4'000}, {4, 100}, {5, 4'096}, {6, 5'000}}) {
    SequenceJob job = Job(id);
    job.context_tokens = context;
    queue.Add(std::move(job));
  }
  std::vector<uint64_t> asked;
  EXPECT_EQ(TakeAll(&queue,
                    [&](const SequenceJob& job) {
                      asked.push_back(job.id);
                      return job.context_tokens <= 4'096;
                    }),
            (std::vector<uint64_t>{3, 4, 5}));
  EXPECT_EQ(asked, (std::vector<uint64_t>{1, 3, 4, 5})) << "what is larger need not be tried";
  EXPECT_EQ(TakeAll(&queue, [](const SequenceJob&) { return true; }),
            (std::vector<uint64_t>{1, 2, 6}));
}

TEST(SequenceQueue, AJobThatExcludesWorkersDoesNotSpeakForOthers) {
  SequenceQueue queue(std::make_unique<FifoOrder>());
  SequenceJob picky = Job(1);
  picky.excluded_workers = {7};
  queue.Add(std::move(picky));
  queue.Add(Job(2));
  EXPECT_EQ(TakeAll(&queue, [](const SequenceJob& job) { return job.id == 2; }),
            std::vector<uint64_t>{2});
}

TEST(SequenceQueue, AJobThatWaitsForItsWorkerLetsOthersGoFirst) {
  SequenceQueue queue(std::make_unique<FifoOrder>());
  for (uint64_t id = 1; id <= 4; ++id) queue.Add(Job(id));
  const auto place = [](const SequenceJob& job) {
    return job.id % 2 == 0 ? Placed::kYes : Placed::kWaits;
  };
  EXPECT_EQ(TakePlaced(&queue, place), (std::vector<uint64_t>{2, 4}));
  EXPECT_EQ(TakeAll(&queue, [](const SequenceJob&) { return true; }), (std::vector<uint64_t>{1, 3}))
      << "they keep their places";
}

TEST(SequenceQueue, ARoundPassesByABoundedNumberOfJobsThatWait) {
  SequenceQueue queue(std::make_unique<FifoOrder>());
  const uint64_t most = SequenceQueue::kMostThatWait;
  for (uint64_t id = 1; id <= most + 5; ++id) queue.Add(Job(id, id <= 3 ? 1 : 0));
  uint64_t asked = 0;
  EXPECT_TRUE(TakePlaced(&queue, [&](const SequenceJob&) {
                ++asked;
                return Placed::kWaits;
              }).empty());
  EXPECT_EQ(asked, most) << "over all priorities together";
  EXPECT_EQ(queue.size(), most + 5);
}

TEST(SequenceQueue, WhatHasWaitedLongGoesWithTheHighestPriority) {
  SequenceQueue queue(std::make_unique<FifoOrder>());
  const auto add = [&](uint64_t id, int32_t priority, int second) {
    SequenceJob job = Job(id, priority);
    job.queued_at = TimePoint(std::chrono::seconds(second));
    queue.Add(std::move(job));
  };
  add(1, 0, 1);
  add(2, 3, 2);
  add(3, 0, 5);
  add(4, 9, 6);
  add(5, 9, 7);
  queue.Promote(TimePoint(std::chrono::seconds(2)));
  EXPECT_EQ(queue.size(), 5u);
  EXPECT_EQ(queue.tokens(), 50u);
  SequenceJob removed;
  EXPECT_TRUE(queue.Remove(2, &removed)) << "it is where it was put";
  EXPECT_EQ(TakeAll(&queue, [](const SequenceJob&) { return true; }),
            (std::vector<uint64_t>{1, 4, 5, 3}));
}

TEST(SequenceQueue, NoPriorityWaitsForEverBehindAStreamOfHigherOnes) {
  SequenceQueue queue(std::make_unique<FifoOrder>());
  queue.Add(Job(1, 0));
  uint64_t next = 2;
  for (int second = 1; second <= 20; ++second) {
    for (int i = 0; i < 2; ++i) {
      SequenceJob job = Job(next++, 5);
      job.queued_at = TimePoint(std::chrono::seconds(second));
      queue.Add(std::move(job));
    }
    queue.Promote(TimePoint(std::chrono::seconds(second - 10)));
    bool room = true;
    const auto taken =
        TakeAll(&queue, [&](const SequenceJob&) { return std::exchange(room, false); });
    ASSERT_EQ(taken.size(), 1u);
    if (taken[0] == 1) {
      EXPECT_EQ(second, 10);
      return;
    }
  }
  FAIL() << "it was never served";
}

TEST(SequenceQueue, RemovesAndExpires) {
  SequenceQueue queue(std::make_unique<FifoOrder>());
  for (uint64_t id : {1, 2, 3}) {
    SequenceJob job = Job(id);
    job.give_up_at = TimePoint(std::chrono::seconds(id));
    queue.Add(std::move(job));
  }
  SequenceJob removed;
  EXPECT_TRUE(queue.Remove(2, &removed));
  EXPECT_FALSE(queue.Remove(2, &removed));
  const auto expired = queue.TakeExpired(TimePoint(std::chrono::seconds(2)));
  ASSERT_EQ(expired.size(), 1u);
  EXPECT_EQ(expired[0].id, 1u);
  EXPECT_EQ(queue.size(), 1u);
}

// Random jobs that come, leave, are cancelled and expire, against a list that is sorted anew.
TEST(SequenceQueue, EqualsASortedListUnderRandomOperations) {
  struct Waiting {
    uint64_t id;
    int32_t priority;
    bool resumed;
    std::string model;
    int64_t give_up_s;
  };
  std::mt19937_64 random(5);
  SequenceQueue queue(std::make_unique<FifoOrder>());
  std::vector<Waiting> model;  // in order of arrival
  uint64_t next_id = 1;
  for (int round = 0; round < 3000; ++round) {
    const uint64_t what = random() % 10;
    if (what < 6) {
      Waiting job{next_id++, static_cast<int32_t>(random() % 3), random() % 4 == 0,
                  random() % 2 == 0 ? "f" : "g", static_cast<int64_t>(round + random() % 40)};
      SequenceJob added = Job(job.id, job.priority, job.resumed, job.model);
      added.give_up_at = TimePoint(std::chrono::seconds(job.give_up_s));
      queue.Add(std::move(added));
      model.push_back(job);
    } else if (what < 7 && !model.empty()) {
      const size_t at = random() % model.size();
      SequenceJob removed;
      ASSERT_TRUE(queue.Remove(model[at].id, &removed));
      model.erase(model.begin() + static_cast<ptrdiff_t>(at));
    } else if (what < 8) {
      for (const SequenceJob& job : queue.TakeExpired(TimePoint(std::chrono::seconds(round)))) {
        const auto found = std::find_if(model.begin(), model.end(),
                                        [&](const Waiting& each) { return each.id == job.id; });
        ASSERT_NE(found, model.end());
        EXPECT_LE(found->give_up_s, round);
        model.erase(found);
      }
      for (const Waiting& job : model) EXPECT_GT(job.give_up_s, round);
    } else {
      std::map<std::string, uint64_t> room = {{"f", random() % 4}, {"g", random() % 4}};
      std::map<std::string, uint64_t> left = room;
      std::vector<Waiting> sorted = model;
      std::stable_sort(sorted.begin(), sorted.end(), [](const Waiting& a, const Waiting& b) {
        return std::tuple(-a.priority, !a.resumed) < std::tuple(-b.priority, !b.resumed);
      });
      std::vector<uint64_t> expected;
      for (const Waiting& job : sorted) {
        if (left[job.model] == 0) continue;
        --left[job.model];
        expected.push_back(job.id);
      }
      ASSERT_EQ(TakeAll(&queue,
                        [&](const SequenceJob& job) {
                          if (room[job.fingerprint] == 0) return false;
                          --room[job.fingerprint];
                          return true;
                        }),
                expected);
      std::erase_if(model, [&](const Waiting& job) {
        return std::find(expected.begin(), expected.end(), job.id) != expected.end();
      });
    }
    ASSERT_EQ(queue.size(), model.size());
    ASSERT_EQ(queue.tokens(), 10 * model.size());
  }
}

}  // namespace
}  // namespace pingti::router
