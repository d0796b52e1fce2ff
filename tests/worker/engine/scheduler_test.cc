// The scheduling policy, rule by rule, and random operations with all invariants checked. The whole
// policy against a second one: scheduler_policy_test.cc; Trim: scheduler_trim_test.cc.
#include "worker/engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "tests/worker/engine/scheduler_testing.h"

namespace pingti::worker {
namespace {

using Harness = SchedulerHarness;

TEST(Scheduler, LongPromptsAreCutIntoChunksThatFillTheBudget) {
  Harness h(64, {8, 4});
  Sequence* s = h.Add(20);
  h.Step();
  EXPECT_EQ(h.TokensOf(s), 8);
  h.Step();
  EXPECT_EQ(h.TokensOf(s), 8);
  h.Step();
  EXPECT_EQ(h.TokensOf(s), 4);
  h.Step();
  EXPECT_EQ(h.TokensOf(s), 1);
}

TEST(Scheduler, DecodesGoOnInEveryStepWhileLongPromptsCome) {
  Harness h(400, {8, 8});
  Sequence* a = h.Add(3);
  Sequence* b = h.Add(3);
  h.Step();
  for (int i = 0; i < 5; ++i) h.Add(200);
  for (int i = 0; i < 50; ++i) {
    h.Step();
    EXPECT_EQ(h.TokensOf(a), 1);
    EXPECT_EQ(h.TokensOf(b), 1);
    EXPECT_EQ(h.plan.num_tokens, 8) << "the rest of the budget is used";
  }
}

TEST(Scheduler, AdmitsInOrderOfArrivalAndNoneOvertakes) {
  Harness h(8, {64, 4});
  Sequence* running = h.Add(8);
  h.Step();
  Sequence* big = h.Add(28);
  Sequence* small = h.Add(2);
  h.Step();
  EXPECT_EQ(running->state, Sequence::State::kRunning);
  EXPECT_EQ(big->state, Sequence::State::kWaiting) << "does not fit now";
  EXPECT_EQ(small->state, Sequence::State::kWaiting) << "must not overtake";
  h.scheduler.Remove(running);
  h.Step();
  EXPECT_EQ(big->state, Sequence::State::kRunning);
}

TEST(Scheduler, HigherPriorityIsAdmittedFirst) {
  Harness h(64, {4, 1});
  Sequence* low = h.Add(4);
  Sequence* high = h.Add(4, 5);
  h.Step();
  EXPECT_EQ(high->state, Sequence::State::kRunning);
  EXPECT_EQ(low->state, Sequence::State::kWaiting);
}

TEST(Scheduler, HigherPriorityTakesThePlaceOfALowerOne) {
  Harness h(64, {8, 2});
  Sequence* first = h.Add(4);
  Sequence* second = h.Add(4);
  h.Step();
  Sequence* high = h.Add(4, 1);
  h.Step();
  EXPECT_EQ(high->state, Sequence::State::kRunning);
  EXPECT_EQ(first->state, Sequence::State::kRunning);
  EXPECT_EQ(second->state, Sequence::State::kWaiting) << "the latest of the lowest gives way";
  // Equals never do.
  Sequence* equal = h.Add(4, 1);
  h.Step();
  EXPECT_EQ(equal->state, Sequence::State::kRunning);
  Sequence* third = h.Add(4, 1);
  h.Step();
  EXPECT_EQ(third->state, Sequence::State::kWaiting);
}

TEST(Scheduler, WhenBlocksRunOutTheLastIsPreemptedAndComesBackFirst) {
  Harness h(4, {16, 4});
  Sequence* a = h.Add(4);
  Sequence* b = h.Add(4);
  h.Step();
  ASSERT_EQ(b->state, Sequence::State::kRunning);
  int steps = 0;
  while (b->num_preemptions == 0 && steps++ < 20) h.Step();
  EXPECT_EQ(a->state, Sequence::State::kRunning);
  EXPECT_EQ(b->state, Sequence::State::kWaiting);
  EXPECT_TRUE(b->blocks.empty());
  Sequence* c = h.Add(4);
  h.scheduler.Remove(a);
  h.Step();
  EXPECT_EQ(b->state, Sequence::State::kRunning);
  EXPECT_TRUE(c->state == Sequence::State::kWaiting || RunsBefore(*b, *c));
}

TEST(Scheduler, ASharedPrefixIsNotComputedAgain) {
  Harness h(64, {64, 4});
  Sequence* a = h.Add(16, 0, 7);
  h.Step();
  Sequence* b = h.Add(18, 0, 7);
  h.Step();
  EXPECT_EQ(b->num_cached, 16);
  EXPECT_EQ(h.TokensOf(b), 2);
  EXPECT_EQ(b->blocks[3].block(), a->blocks[3].block());
  // An input that is cached whole still computes its last token.
  Sequence* c = h.Add(16, 0, 7);
  h.Step();
  EXPECT_EQ(c->num_cached, 12);
  EXPECT_EQ(h.TokensOf(c), 4);
}

TEST(Scheduler, ForksShareBlocksUntilOneWrites) {
  Harness h(64, {64, 4});
  Sequence* a = h.Add(5);
  h.waiting = {a};
  h.Step();
  ASSERT_EQ(a->num_computed, 5);
  Sequence b;
  b.order = 100;
  h.scheduler.Fork(*a, &b);
  h.GiveToken(a);
  h.GiveToken(&b);
  EXPECT_EQ(b.blocks[0].block(), a->blocks[0].block());
  EXPECT_EQ(b.blocks[1].block(), a->blocks[1].block());
  h.Step();
  EXPECT_EQ(h.copies.size(), 1u) << "one copies, the other keeps the original";
  EXPECT_EQ(b.blocks[0].block(), a->blocks[0].block());
  EXPECT_NE(b.blocks[1].block(), a->blocks[1].block());
  h.scheduler.Remove(&b);
}

TEST(Scheduler, SequencesPastTheirDeadlineLeave) {
  Harness h(64, {8, 1});
  Sequence* running = h.Add(4);
  Sequence* waiting = h.Add(4);
  running->deadline = kNow + std::chrono::seconds(1);
  waiting->deadline = kNow + std::chrono::seconds(2);
  h.Step();
  h.Step(kNow + std::chrono::seconds(1));
  EXPECT_EQ(h.plan.expired, std::vector<Sequence*>{running});
  EXPECT_EQ(running->state, Sequence::State::kIdle);
  h.Step(kNow + std::chrono::seconds(3));
  EXPECT_EQ(h.plan.expired, std::vector<Sequence*>{waiting});
}

// Random arrivals, ends, forks, preemptions and priorities: no plan exceeds its budgets, no decode
// is left out while tokens are left, every sequence ends.
TEST(Scheduler, RandomOperationsKeepEveryPromise) {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const int32_t max_sequences = 1 + static_cast<int32_t>(random() % 6);
    const int32_t max_tokens = max_sequences + static_cast<int32_t>(random() % 20);
    const int32_t num_blocks = 12 + static_cast<int32_t>(random() % 30);
    Harness h(num_blocks, {max_tokens, max_sequences});
    std::set<Sequence*> alive;
    int ended = 0;
    for (int op = 0; op < 400 || !alive.empty(); ++op) {
      ASSERT_LT(op, 20'000) << "a sequence never ends";
      if (op < 400 && random() % 3 == 0) {
        const int32_t length = 1 + static_cast<int32_t>(random() % 30);
        alive.insert(
            h.Add(length, static_cast<int32_t>(random() % 8 == 0), random() % 2 == 0 ? 5 : -1));
      }
      if (random() % 20 == 0 && !h.scheduler.state().running.empty()) {
        const auto& running = h.scheduler.state().running;
        h.scheduler.Preempt(running[random() % running.size()]);
      }
      if (op < 400 && random() % 15 == 0 && !h.scheduler.state().running.empty()) {
        const auto& running = h.scheduler.state().running;
        const Sequence* from = running[random() % running.size()];
        h.sequences.push_back(std::make_unique<Sequence>());
        Sequence* to = h.sequences.back().get();
        to->order = h.sequences.size();
        h.scheduler.Fork(*from, to);
        alive.insert(to);
      }
      std::vector<Sequence*> decodes;
      for (Sequence* s : h.scheduler.state().running) {
        if (s->pending() == 1 && s->num_computed > 0) decodes.push_back(s);
      }
      const StepPlan& plan = h.Step();
      ASSERT_LE(plan.num_tokens, max_tokens);
      ASSERT_LE(static_cast<int32_t>(plan.chunks.size()), max_sequences);
      for (Sequence* s : decodes) {
        const bool preempted =
            std::find(plan.preempted.begin(), plan.preempted.end(), s) != plan.preempted.end();
        ASSERT_TRUE(h.TokensOf(s) == 1 || preempted) << "a decode was left out";
      }
      ASSERT_TRUE(alive.empty() || plan.changes_anything()) << "nothing moves";
      for (auto it = alive.begin(); it != alive.end();) {
        // Their end comes with their length, well before a single one exceeds the pool.
        if ((*it)->tokens.size() >= 44) {
          h.scheduler.Remove(*it);
          ++ended;
          it = alive.erase(it);
        } else {
          ++it;
        }
      }
    }
    EXPECT_GT(ended, 50);
    EXPECT_EQ(h.cache.pool().leased(), 0);
  }
}

}  // namespace
}  // namespace pingti::worker
