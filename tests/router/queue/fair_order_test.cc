#include "router/queue/fair_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "router/queue/choose_order.h"
#include "router/queue/sequence_queue.h"

namespace pingti::router {
namespace {

class FairOrderTest : public ::testing::Test {
 protected:
  void Add(const std::string& tenant, uint32_t tokens, int32_t priority = 0,
           const std::string& model = "f") {
    SequenceJob job;
    job.id = next_id_++;
    job.line = tenant;
    job.fingerprint = model;
    job.tokens = tokens;
    job.priority = priority;
    job.sequence.stop.max_tokens = 1;
    if (weights_.contains(tenant)) job.weight = weights_[tenant];
    queue_.Add(std::move(job));
  }

  // The tenants of the next `count` jobs, one letter each.
  std::string Take(int count, const std::string& full_model = "") {
    std::string tenants;
    queue_.TakePlaceable(
        [&](const SequenceJob& job) {
          return count > 0 && job.fingerprint != full_model ? SequenceQueue::Placed::kYes
                                                            : SequenceQueue::Placed::kNo;
        },
        [&](SequenceJob job) {
          tenants += job.line;
          given_[job.line] += job.tokens + job.sequence.stop.max_tokens;
          --count;
        });
    return tenants;
  }

  SequenceQueue queue_{*MakeQueueOrder("fair")};
  std::map<std::string, uint64_t> given_;
  std::map<std::string, double> weights_;
  uint64_t next_id_ = 1;
};

TEST_F(FairOrderTest, ATableNamesTheOrders) {
  EXPECT_EQ((*MakeQueueOrder("fair"))->name(), "fair");
  EXPECT_EQ((*MakeQueueOrder("fifo"))->name(), "fifo");
  const absl::Status status = MakeQueueOrder("lifo").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_NE(status.message().find("fair, fifo"), absl::string_view::npos);
}

TEST_F(FairOrderTest, ALongLineOfOneKeyDoesNotKeepAnotherWaiting) {
  for (int i = 0; i < 100; ++i) Add("a", 50);
  for (int i = 0; i < 3; ++i) Add("b", 50);
  EXPECT_EQ(Take(7), "abababa");
}

TEST_F(FairOrderTest, TurnsAreCountedInTokens) {
  for (int i = 0; i < 10; ++i) Add("a", 299);
  for (int i = 0; i < 30; ++i) Add("b", 99);
  EXPECT_EQ(Take(12), "abbbabbbabbb");
}

TEST_F(FairOrderTest, ALineWithTwiceTheWeightGetsTwiceTheTokens) {
  weights_["a"] = 2;
  for (int i = 0; i < 100; ++i) Add("a", 99);
  for (int i = 0; i < 100; ++i) Add("b", 99);
  Take(90);
  EXPECT_NEAR(static_cast<double>(given_["a"]), 2.0 * static_cast<double>(given_["b"]), 300);
}

TEST_F(FairOrderTest, AnAnswerLongerThanExpectedIsPaidForByItsLine) {
  for (int i = 0; i < 50; ++i) Add("a", 99);
  for (int i = 0; i < 50; ++i) Add("b", 99);
  EXPECT_EQ(Take(4), "abab");
  queue_.CountAnswer("a", 1, 500);
  EXPECT_EQ(Take(6), "bbbbba") << "500 tokens are five turns";
  queue_.CountAnswer("b", 1, -200);
  EXPECT_EQ(Take(4), "bbba");
}

TEST_F(FairOrderTest, AnAnswerOfALineThatHasNothingWaitingIsRemembered) {
  Add("a", 10);
  EXPECT_EQ(Take(1), "a");
  queue_.CountAnswer("a", 1, 1000);
  Add("a", 10);
  for (int i = 0; i < 5; ++i) Add("b", 99);
  EXPECT_EQ(Take(6), "bbbbba");
}

// An idle key's first sequence goes before everything that others have waiting, whatever was
// served before.
TEST_F(FairOrderTest, AnIdleKeysFirstSequenceIsNext) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 200; ++round) {
    for (int i = 0; i < 10; ++i) Add("noisy", 1 + random() % 3000);
    Take(static_cast<int>(random() % 10));
    const std::string newcomer = "k" + std::to_string(round);
    Add(newcomer, 1 + random() % 3000);
    const std::string next = Take(2);
    ASSERT_NE(next.find(newcomer), std::string::npos) << "at most one is before it: " << next;
  }
}

TEST_F(FairOrderTest, OneKeyAloneIsServedInOrderOfArrival) {
  for (int i = 0; i < 3; ++i) Add("a", 10);
  EXPECT_EQ(Take(2), "aa");
  Add("a", 10);
  EXPECT_EQ(Take(5), "aa");
}

TEST_F(FairOrderTest, AKeyThatWasAwayGetsNoCreditForIt) {
  for (int i = 0; i < 20; ++i) Add("a", 100);
  EXPECT_EQ(Take(10), "aaaaaaaaaa");
  for (int i = 0; i < 5; ++i) Add("b", 100);
  const std::string turns = Take(6);
  EXPECT_EQ(std::count(turns.begin(), turns.end(), 'a'), 3) << turns;
}

TEST_F(FairOrderTest, WhatWasCancelledIsNotCharged) {
  for (int i = 0; i < 50; ++i) Add("a", 1000);
  Add("b", 10);
  for (uint64_t id = 1; id <= 49; ++id) {
    SequenceJob job;
    ASSERT_TRUE(queue_.Remove(id, &job));
  }
  EXPECT_EQ(Take(2), "ab") << "equal turns: the job that came first";
  Add("b", 10);
  Add("a", 10);
  EXPECT_EQ(Take(2), "ba") << "a had one of 1,000 tokens, not fifty";
}

TEST_F(FairOrderTest, PriorityGoesBeforeFairness) {
  Add("a", 10);
  for (int i = 0; i < 3; ++i) Add("b", 1000, /*priority=*/1);
  EXPECT_EQ(Take(4), "bbba");
}

TEST_F(FairOrderTest, AFullModelHoldsUpNeitherKeyNorOtherModels) {
  Add("a", 10, 0, "full");
  Add("a", 10, 0, "free");
  Add("b", 10, 0, "full");
  Add("b", 10, 0, "free");
  EXPECT_EQ(Take(4, "full"), "ab");
  EXPECT_EQ(queue_.size(), 2u);
}

// The bound of the paper's theorem 1: what two keys get while both wait differs by at most the
// largest job of each.
TEST_F(FairOrderTest, KeysThatBothWaitNeverDifferByMoreThanALargestJobOfEach) {
  std::mt19937_64 random(9);
  constexpr uint32_t kLargest = 500;
  for (int i = 0; i < 400; ++i) Add("a", 1 + random() % kLargest);
  for (int i = 0; i < 400; ++i) Add("b", 1 + random() % 50);
  for (int i = 0; i < 300; ++i) {
    Take(1);
    const auto a = static_cast<int64_t>(given_["a"]);
    const auto b = static_cast<int64_t>(given_["b"]);
    ASSERT_LE(std::abs(a - b), (kLargest + 1) + (50 + 1));
  }
}

TEST_F(FairOrderTest, LinesThatAreGoneAreForgottenAndNewOnesStandBehindNoDebt) {
  // Each asks once; all that was served is soon in the past.
  for (int i = 0; i < 100'000; ++i) {
    Add(std::to_string(i), 10);
    Take(1);
  }
  Add("a", 10);
  Add("b", 10);
  Add("a", 10);
  EXPECT_EQ(Take(3), "aba");
}

}  // namespace
}  // namespace pingti::router
