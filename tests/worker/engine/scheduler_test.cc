// The scheduling policy, rule by rule, and random operations with all invariants checked.
#include "worker/engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace pingti::worker {
namespace {

constexpr int32_t kBlockTokens = 4;
const TimePoint kNow = TimePoint(std::chrono::hours(1));

class Harness {
 public:
  Harness(int32_t num_blocks, StepBudget budget)
      : cache(num_blocks, kBlockTokens), scheduler(&cache, budget) {}
  ~Harness() {
    for (auto& sequence : sequences) scheduler.Remove(sequence.get());
  }

  Sequence* Add(int32_t num_tokens, int32_t priority = 0, int32_t first_token = -1) {
    sequences.push_back(std::make_unique<Sequence>());
    Sequence* s = sequences.back().get();
    s->order = sequences.size();
    s->priority = priority;
    for (int32_t i = 0; i < num_tokens; ++i) {
      s->tokens.push_back(first_token >= 0 ? first_token + i
                                           : static_cast<int32_t>(s->order) * 1000 + i);
    }
    Scheduler::ExtendHashes(s, kBlockTokens);
    scheduler.Add(s);
    return s;
  }

  // One whole step; every sequence that caught up gets one more token.
  const StepPlan& Step(TimePoint now = kNow) {
    scheduler.Plan(now, &plan);
    StepPlan again;
    scheduler.Plan(now, &again);
    EXPECT_EQ(again.num_tokens, plan.num_tokens) << "Plan is not pure";
    EXPECT_EQ(again.preempted, plan.preempted);
    copies.clear();
    scheduler.Apply(plan, &copies);
    for (const PlannedChunk& chunk : plan.chunks)
      scheduler.Commit(chunk.sequence, chunk.num_tokens);
    for (const PlannedChunk& chunk : plan.chunks) {
      if (chunk.sequence->pending() == 0) chunk.sequence->tokens.push_back(next_token++);
    }
    // Between the token and its computation, blocks match what was computed.
    const absl::Status status = scheduler.CheckInvariants();
    EXPECT_TRUE(status.ok()) << status.ToString();
    return plan;
  }

  int32_t TokensOf(const Sequence* sequence) const {
    for (const PlannedChunk& chunk : plan.chunks) {
      if (chunk.sequence == sequence) return chunk.num_tokens;
    }
    return 0;
  }

  PrefixCache cache;
  Scheduler scheduler;
  StepPlan plan;
  std::vector<PlannedCopy> copies;
  std::vector<std::unique_ptr<Sequence>> sequences;
  int32_t next_token = 1'000'000;
};

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
  Sequence* a = h.Add(6);
  a->hold_back = 1;
  h.Step();
  a->tokens.resize(6);  // hold the harness's token back
  a->hold_back = 0;
  ASSERT_EQ(a->num_computed, 5);
  Sequence b;
  b.order = 100;
  h.scheduler.Fork(*a, &b);
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

// The policy written down a second time, for memory that never runs out: nothing but numbers, every
// queue searched anew. Prompts share no tokens, so a prefix is found only by who computed it.
class NaiveScheduler {
 public:
  explicit NaiveScheduler(StepBudget budget) : budget_(budget) {}

  void Add(uint64_t order, int32_t priority, int32_t length) {
    items_[{-priority, order}] = {length};
  }
  void Remove(uint64_t order, int32_t priority) { items_.erase({-priority, order}); }

  // The tokens that each sequence, by `order`, gets in the next step.
  std::map<uint64_t, int32_t> Step() {
    const std::set<uint64_t> preempted = MakeRoom();
    std::map<uint64_t, int32_t> chunks;
    int32_t left = budget_.max_tokens;
    const auto take = [&](uint64_t order, Item* item, int32_t tokens) {
      chunks[order] = std::min(tokens, left);
      left -= chunks[order];
      item->computed += chunks[order];
      item->stored = std::max(item->stored, item->computed / kBlockTokens);
    };
    for (auto& [key, item] : items_) {
      if (item.running && item.computed > 0 && item.length - item.computed == 1) {
        take(key.second, &item, 1);
      }
    }
    for (auto& [key, item] : items_) {
      const bool done = chunks.count(key.second) > 0 || left == 0;
      if (item.running && !done) take(key.second, &item, item.length - item.computed);
    }
    for (auto& [key, item] : items_) {
      if (item.running || preempted.count(key.second) > 0) continue;
      if (left == 0 || NumRunning() == budget_.max_sequences) break;
      item.running = true;
      item.computed = std::min(item.stored, (item.length - 1) / kBlockTokens) * kBlockTokens;
      take(key.second, &item, item.length - item.computed);
    }
    for (auto& [key, item] : items_) item.length += item.computed == item.length ? 1 : 0;
    return chunks;
  }

 private:
  struct Item {
    int32_t length = 0;
    int32_t computed = 0;
    int32_t stored = 0;  // blocks in the cache
    bool running = false;
  };

  int32_t NumRunning() const {
    return static_cast<int32_t>(std::count_if(
        items_.begin(), items_.end(), [](const auto& entry) { return entry.second.running; }));
  }

  // The first that waits may send the last that runs back, if its priority is higher.
  std::set<uint64_t> MakeRoom() {
    const auto first = std::find_if(items_.begin(), items_.end(),
                                    [](const auto& entry) { return !entry.second.running; });
    const auto last = std::find_if(items_.rbegin(), items_.rend(),
                                   [](const auto& entry) { return entry.second.running; });
    if (first == items_.end() || NumRunning() < budget_.max_sequences) return {};
    if (first->first.first >= last->first.first) return {};
    last->second.running = false;
    last->second.computed = 0;
    return {last->first.second};
  }

  const StepBudget budget_;
  std::map<std::pair<int32_t, uint64_t>, Item> items_;  // in serving order
};

TEST(Scheduler, EveryStepEqualsTheNaivePolicys) {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const int32_t max_sequences = 1 + static_cast<int32_t>(random() % 6);
    const StepBudget budget{max_sequences + static_cast<int32_t>(random() % 20), max_sequences};
    Harness h(8192, budget);
    NaiveScheduler naive(budget);
    std::map<uint64_t, Sequence*> alive;
    int64_t priority_preemptions = 0;
    for (int step = 0; step < 600; ++step) {
      if (random() % 4 == 0) {
        const int32_t length = 1 + static_cast<int32_t>(random() % 60);
        const int32_t priority = random() % 6 == 0 ? 1 : 0;
        Sequence* s = h.Add(length, priority);
        naive.Add(s->order, priority, length);
        alive[s->order] = s;
      }
      h.Step();
      std::map<uint64_t, int32_t> got;
      for (const PlannedChunk& chunk : h.plan.chunks) {
        got[chunk.sequence->order] = chunk.num_tokens;
      }
      ASSERT_EQ(got, naive.Step()) << "step " << step;
      priority_preemptions += static_cast<int64_t>(h.plan.preempted.size());
      for (auto it = alive.begin(); it != alive.end();) {
        Sequence* s = it->second;
        if (s->tokens.size() < 64 && random() % 40 != 0) {
          ++it;
          continue;
        }
        naive.Remove(s->order, s->priority);
        h.scheduler.Remove(s);
        it = alive.erase(it);
      }
    }
    EXPECT_GT(h.sequences.size(), 100u);
    EXPECT_GT(priority_preemptions, 0);
  }
}

}  // namespace
}  // namespace pingti::worker
