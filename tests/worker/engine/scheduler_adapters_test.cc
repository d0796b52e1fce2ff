// How many adapters run at once, and who waits for one to be done.
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "tests/worker/engine/scheduler_testing.h"
#include "worker/adapters/adapter.h"

namespace pingti::worker {
namespace {

constexpr StepBudget kTwoAdapters{.max_tokens = 64, .max_sequences = 8, .max_adapters = 2};

class SchedulerAdaptersTest : public ::testing::Test {
 protected:
  Sequence* Add(const Adapter* adapter, int32_t tokens = 5, int32_t priority = 0) {
    Sequence* sequence = harness_.Make(tokens, priority);
    sequence->adapter = adapter;
    Scheduler::ExtendHashes(sequence, kBlockTokens);
    harness_.scheduler.Add(sequence);
    return sequence;
  }
  bool Runs(const Sequence* sequence) const { return sequence->state == Sequence::State::kRunning; }
  std::set<const Adapter*> Running() const {
    std::set<const Adapter*> adapters;
    for (const Sequence* s : harness_.scheduler.state().running) {
      if (s->adapter != nullptr) adapters.insert(s->adapter);
    }
    return adapters;
  }

  Adapter a_, b_, c_, d_;
  SchedulerHarness harness_{256, kTwoAdapters};
};

TEST_F(SchedulerAdaptersTest, OneAdapterTooManyWaitsAndLetsTheBaseModelPass) {
  Sequence* first = Add(&a_);
  Add(&b_);
  Sequence* third = Add(&c_);
  Sequence* behind = Add(&a_);
  Sequence* base = Add(nullptr);
  harness_.Step();
  EXPECT_TRUE(Runs(base));
  EXPECT_FALSE(Runs(third));
  EXPECT_FALSE(Runs(behind)) << "it would keep the third one waiting";
  harness_.scheduler.Remove(first);
  harness_.Step();
  EXPECT_TRUE(Runs(third));
  EXPECT_FALSE(Runs(behind)) << "there are two others now";
}

TEST_F(SchedulerAdaptersTest, ManySequencesShareAnAdapter) {
  for (int i = 0; i < 4; ++i) Add(i % 2 == 0 ? &a_ : &b_);
  harness_.Step();
  EXPECT_EQ(harness_.scheduler.state().running.size(), 4u);
}

TEST_F(SchedulerAdaptersTest, NobodyIsPreemptedForOneThatCouldNotRunThen) {
  for (int i = 0; i < 8; ++i) Add(i % 2 == 0 ? &a_ : &b_);
  harness_.Step();
  Sequence* urgent = Add(&c_, 5, /*priority=*/1);
  harness_.Step();
  EXPECT_FALSE(Runs(urgent));
  EXPECT_TRUE(harness_.plan.preempted.empty());
}

TEST_F(SchedulerAdaptersTest, WithoutSlotsOnlyTheBaseModelRuns) {
  SchedulerHarness none(64, {.max_tokens = 64, .max_sequences = 8});
  Sequence* adapted = none.Make(5);
  adapted->adapter = &a_;
  none.scheduler.Add(adapted);
  Sequence* base = none.Add(5);
  none.Step();
  EXPECT_FALSE(Runs(adapted));
  EXPECT_TRUE(Runs(base));
}

TEST_F(SchedulerAdaptersTest, WhateverArrivesNoneIsTooManyAndAllEnd) {
  std::mt19937 random(11);
  const Adapter* const adapters[] = {nullptr, &a_, &b_, &c_, &d_};
  std::vector<Sequence*> alive;
  int ended = 0;
  for (int step = 0; step < 2000; ++step) {
    if (step < 1500 && random() % 3 == 0) {
      alive.push_back(Add(adapters[random() % 5], 2 + static_cast<int32_t>(random() % 20),
                          random() % 5 == 0 ? 1 : 0));
    }
    harness_.Step();
    ASSERT_LE(Running().size(), 2u) << "step " << step;
    std::erase_if(alive, [&](Sequence* s) {
      if (!Runs(s) || random() % 4 != 0) return false;
      harness_.scheduler.Remove(s);
      ++ended;
      return true;
    });
  }
  EXPECT_TRUE(alive.empty());
  EXPECT_GT(ended, 300);
}

}  // namespace
}  // namespace pingti::worker
