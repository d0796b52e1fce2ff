// Every step of the scheduler against the naive policy's, with blocks, tokens and rows that are
// scarce; and what the prefix cache still knows after evictions.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

#include "tests/worker/engine/naive_scheduler.h"
#include "tests/worker/engine/scheduler_testing.h"

namespace pingti::worker {
namespace {

// Runs both schedulers side by side and counts what came up.
class SideBySide {
 public:
  SideBySide(uint32_t seed, int32_t num_blocks, StepBudget budget, bool drafts)
      : random_(seed),
        drafts_(drafts),
        max_sequences_(budget.max_sequences),
        harness_(num_blocks, budget),
        naive_(budget, num_blocks, kBlockTokens) {}

  void Step(int step) {
    now_ += std::chrono::milliseconds(1);
    if (random_() % 4 == 0) Arrive();
    if (drafts_) Propose();
    const auto accepted = [&](uint64_t order, int32_t drafts) {
      return static_cast<int32_t>((order * 31 + static_cast<uint64_t>(step) * 17) %
                                  static_cast<uint64_t>(drafts + 1));
    };
    harness_.Step(now_, [&](const Sequence& sequence, int32_t drafts) {
      num_accepted += accepted(sequence.order, drafts);
      return accepted(sequence.order, drafts);
    });
    Compare(naive_.Run(now_, accepted), step);
    Leave();
    if (step % 8 == 0) CompareCaches();
  }

  int64_t num_preempted = 0;
  int64_t num_expired = 0;
  int64_t num_accepted = 0;
  int64_t num_evicted = 0;
  size_t num_sequences() const { return harness_.sequences.size(); }

 private:
  // No sequence may get longer, or one alone would not fit.
  static constexpr int32_t kMostTokens = 64;

  void Arrive() {
    const int32_t length = 2 + static_cast<int32_t>(random_() % 50);
    const int32_t priority = random_() % 6 == 0 ? 1 : 0;
    Sequence* s = harness_.Make(length, priority);
    const bool waits = random_() % 5 == 0;
    if (waits) {
      harness_.waiting.insert(s);
      s->num_places = 1 + static_cast<int32_t>(random_() % max_sequences_);
    }
    if (random_() % 8 == 0) s->deadline = now_ + std::chrono::milliseconds(random_() % 60);
    Scheduler::ExtendHashes(s, kBlockTokens);
    harness_.scheduler.Add(s);
    naive_.Add(s->order, priority, length, waits, s->num_places, s->deadline);
    alive_[s->order] = s;
  }

  void Propose() {
    for (Sequence* s : harness_.scheduler.state().running) {
      if (!s->decodes() || harness_.waiting.count(s) > 0 || random_() % 2 == 0) continue;
      const int32_t num_drafts = 1 + static_cast<int32_t>(random_() % 7);
      harness_.Propose(s, num_drafts);
      naive_.Propose(s->order, num_drafts);
    }
  }

  void Compare(const NaiveScheduler::Step& want, int step) {
    NaiveScheduler::Step got;
    for (const PlannedChunk& chunk : harness_.plan.chunks) {
      got.chunks[chunk.sequence->order] = chunk.num_tokens;
    }
    for (const Sequence* s : harness_.plan.preempted) got.preempted.insert(s->order);
    for (const Sequence* s : harness_.plan.expired) got.expired.insert(s->order);
    ASSERT_EQ(got.expired, want.expired) << "step " << step;
    ASSERT_EQ(got.preempted, want.preempted) << "step " << step;
    ASSERT_EQ(got.chunks, want.chunks) << "step " << step;
    num_preempted += static_cast<int64_t>(got.preempted.size());
    num_expired += static_cast<int64_t>(got.expired.size());
    for (const uint64_t order : got.expired) alive_.erase(order);
    for (const CacheEvent& event : harness_.cache.events()) {
      num_evicted += event.kind == CacheEvent::Kind::kRemoved ? 1 : 0;
    }
    harness_.cache.ClearEvents();
  }

  // Ends the long ones and a few at random; gives those that wait for others their tokens.
  void Leave() {
    for (auto it = alive_.begin(); it != alive_.end();) {
      Sequence* s = it->second;
      const bool is_idle = s->state == Sequence::State::kIdle;
      const bool waits = harness_.waiting.count(s) > 0;
      if (waits && (is_idle || s->pending() == 0) && random_() % 2 == 0) {
        harness_.waiting.erase(s);
        harness_.GiveToken(s);
        s->num_places = 1;
        if (is_idle) harness_.scheduler.Add(s);
        naive_.LetGo(s->order);
      }
      if (s->tokens.size() < kMostTokens - 8 && random_() % 40 != 0) {
        ++it;
        continue;
      }
      naive_.Remove(s->order);
      harness_.scheduler.Remove(s);
      it = alive_.erase(it);
    }
  }

  void CompareCaches() {
    for (const auto& sequence : harness_.sequences) {
      ASSERT_EQ(static_cast<int32_t>(harness_.FindPrefix(*sequence).size()),
                naive_.FindableBlocks(sequence->order))
          << "sequence " << sequence->order;
    }
  }

  std::mt19937 random_;
  const bool drafts_;
  const int32_t max_sequences_;
  SchedulerHarness harness_;
  NaiveScheduler naive_;
  std::map<uint64_t, Sequence*> alive_;
  TimePoint now_ = kNow;
};

// Over all seeds of a run.
struct Totals {
  int64_t preempted = 0;
  int64_t expired = 0;
  int64_t accepted = 0;
  int64_t evicted = 0;
  size_t sequences = 0;
};

// `num_blocks`: at least these, and up to as many more.
Totals RunSeeds(uint32_t num_seeds, int32_t num_blocks, bool drafts) {
  Totals totals;
  for (uint32_t seed = 1; seed <= num_seeds; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const int32_t max_sequences = 1 + static_cast<int32_t>(random() % 6);
    StepBudget budget{max_sequences + static_cast<int32_t>(random() % 20), max_sequences};
    if (drafts) budget.max_rows = max_sequences + static_cast<int32_t>(random() % 20);
    if (seed % 3 == 0) budget.max_prefill_tokens = 1 + static_cast<int32_t>(random() % 12);
    const int32_t blocks = num_blocks + static_cast<int32_t>(random() % num_blocks);
    SideBySide both(seed, blocks, budget, drafts);
    for (int step = 0; step < 600 && !::testing::Test::HasFatalFailure(); ++step) both.Step(step);
    totals.preempted += both.num_preempted;
    totals.expired += both.num_expired;
    totals.accepted += both.num_accepted;
    totals.evicted += both.num_evicted;
    totals.sequences += both.num_sequences();
    if (::testing::Test::HasFatalFailure()) break;
  }
  return totals;
}

TEST(SchedulerPolicy, EveryStepEqualsTheNaivePolicysWithMemoryToSpare) {
  const Totals totals = RunSeeds(8, 2560, false);
  EXPECT_GT(totals.sequences, 800u);
  EXPECT_GT(totals.preempted, 20) << "for a higher priority";
  EXPECT_GT(totals.expired, 20);
  EXPECT_EQ(totals.evicted, 0);
}

TEST(SchedulerPolicy, EveryStepEqualsTheNaivePolicysWithScarceBlocks) {
  const Totals totals = RunSeeds(30, 18, false);
  EXPECT_GT(totals.sequences, 3000u);
  EXPECT_GT(totals.preempted, 500);
  EXPECT_GT(totals.expired, 100);
  EXPECT_GT(totals.evicted, 10'000);
}

TEST(SchedulerPolicy, EveryStepEqualsTheNaivePolicysWithDrafts) {
  const Totals totals = RunSeeds(30, 20, true);
  EXPECT_GT(totals.preempted, 500);
  EXPECT_GT(totals.accepted, 5000);
  EXPECT_GT(totals.evicted, 10'000);
}

TEST(SchedulerPolicy, AfterEvictionsTheBeginningsOfChainsRemain) {
  SchedulerHarness h(12, {64, 4});
  Sequence* a = h.Add(20);
  h.Step();
  Sequence* b = h.Add(12);
  h.Step();
  h.scheduler.Remove(a);
  h.scheduler.Remove(b);
  ASSERT_EQ(h.FindPrefix(*a).size(), 5u);
  ASSERT_EQ(h.FindPrefix(*b).size(), 3u);
  // Four free blocks remain; each block more takes the end of a's chain, then of b's.
  for (size_t taken = 1; taken <= 8; ++taken) {
    std::vector<BlockLease> leases;
    for (size_t i = 0; i < 4 + taken; ++i) leases.push_back(h.cache.pool().Allocate());
    EXPECT_EQ(h.FindPrefix(*a).size(), taken < 5 ? 5 - taken : 0u);
    EXPECT_EQ(h.FindPrefix(*b).size(), taken < 5 ? 3u : 8 - taken);
  }
}

TEST(SchedulerPolicy, TheSaltSurvivesAForkAndAPreemption) {
  SchedulerHarness h(64, {64, 4});
  Sequence* plain = h.Add(16, 0, 7);
  h.Step();
  Sequence* salted = h.Add(16, 0, 7, "tenant");
  h.Step();
  EXPECT_EQ(salted->num_cached, 0) << "the same tokens under another salt are other content";
  Sequence* fork = h.Fork(*salted);
  EXPECT_EQ(fork->salt, "tenant");
  // Both compute the same blocks behind the prompt; what they find again is the tenant's.
  for (int i = 0; i < 8; ++i) h.Step();
  for (Sequence* s : {salted, fork}) {
    const std::vector<BlockId> own = h.FindPrefix(*s);
    ASSERT_GE(own.size(), 5u);
    EXPECT_EQ(own[0], salted->blocks[0].block());
    EXPECT_NE(own[0], plain->blocks[0].block());
    h.scheduler.Preempt(s);
    h.Step();
    EXPECT_EQ(s->salt, "tenant");
    EXPECT_GE(s->num_cached, 20);
    EXPECT_EQ(s->blocks[0].block(), own[0]);
  }
  // Who takes over another's place takes over its salt.
  Sequence* heir = h.Make(0);
  h.scheduler.Replace(fork, heir);
  EXPECT_EQ(heir->salt, "tenant");
  for (int i = 0; i < 4; ++i) h.Step();
  EXPECT_EQ(h.FindPrefix(*heir).size(), static_cast<size_t>(heir->num_linked));
  // A fork that must wait keeps it too.
  h.Add(4);
  h.Step();
  Sequence* waiting = h.Fork(*salted);
  ASSERT_EQ(waiting->state, Sequence::State::kWaiting);
  EXPECT_EQ(waiting->salt, "tenant");
  h.scheduler.Remove(plain);
  h.Step();
  EXPECT_EQ(waiting->state, Sequence::State::kRunning);
  EXPECT_EQ(waiting->blocks[0].block(), salted->blocks[0].block());
}

}  // namespace
}  // namespace pingti::worker
