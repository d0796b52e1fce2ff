// Trim and drafts: what a sequence holds is as if the trimmed tokens had never been, and nobody
// else's keys and values change. Memory is simulated, so a wrong block or a missing copy shows.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

#include "tests/worker/engine/scheduler_testing.h"

namespace pingti::worker {
namespace {

std::vector<BlockId> BlocksOf(const Sequence& sequence) {
  std::vector<BlockId> blocks;
  for (const BlockLease& lease : sequence.blocks) blocks.push_back(lease.block());
  return blocks;
}

// Every length from which and to which a sequence can be trimmed, over three blocks.
TEST(SchedulerTrim, LeavesWhatAnUntrimmedSequenceHas) {
  constexpr int32_t kMost = 3 * kBlockTokens;
  for (int32_t length = 2; length <= kMost; ++length) {
    for (int32_t computed = 0; computed <= length; ++computed) {
      for (int32_t keep = 1; keep <= length; ++keep) {
        SCOPED_TRACE(::testing::Message()
                     << length << " tokens, " << computed << " computed, " << keep << " kept");
        const int32_t chunk = std::max(computed, 1);
        SchedulerHarness h(32, {chunk, 1});
        Sequence* s = h.Add(length, 0, 7);
        if (computed > 0) h.Step();
        s->tokens.resize(static_cast<size_t>(length));
        h.scheduler.Trim(s, length - keep);
        const int32_t left = std::min(computed, keep);
        EXPECT_EQ(static_cast<int32_t>(s->tokens.size()), keep);
        EXPECT_EQ(s->num_computed, left);
        EXPECT_EQ(s->num_linked, left / kBlockTokens);
        EXPECT_EQ(static_cast<int32_t>(s->blocks.size()), (left + 3) / kBlockTokens);
        EXPECT_LE(static_cast<int32_t>(s->block_hashes.size()), keep / kBlockTokens);
        EXPECT_EQ(h.cache.pool().leased(), (left + 3) / kBlockTokens);
        // What was published stays findable.
        Sequence* same = h.Make(length, 0, 7);
        Scheduler::ExtendHashes(same, kBlockTokens);
        EXPECT_EQ(static_cast<int32_t>(h.FindPrefix(*same).size()), computed / kBlockTokens);
        h.CheckInvariants();
      }
    }
  }
}

TEST(SchedulerTrim, WritingIntoABlockThatTheCacheKnowsCopiesItFirst) {
  SchedulerHarness h(16, {16, 2});
  Sequence* s = h.Add(8, 0, 7);
  h.Step();
  const BlockId published = s->blocks[1].block();
  h.scheduler.Trim(s, 3);  // the token that the step appended, and two of the second block
  ASSERT_EQ(s->num_computed, 6);
  s->tokens.push_back(99);
  h.Step();
  ASSERT_EQ(h.copies.size(), 1u);
  EXPECT_EQ(h.copies[0].from, published);
  EXPECT_EQ(h.copies[0].to, s->blocks[1].block());
  EXPECT_TRUE(h.Holds(*s, BlocksOf(*s), s->num_computed));
  const Sequence* other = h.Add(9, 0, 7);
  h.Step();
  EXPECT_EQ(other->num_cached, 8);
  EXPECT_EQ(other->blocks[1].block(), published);
  EXPECT_TRUE(h.Holds(*other, BlocksOf(*other), other->num_computed));
}

TEST(SchedulerTrim, DraftsOnlyUseWhatIsLeft) {
  // Tokens: 2 decodes leave 3 of 5 for drafts; rows: 4; the first in serving order has them.
  SchedulerHarness h(64, {5, 2, 4});
  Sequence* a = h.Add(2);
  Sequence* b = h.Add(2);
  h.Step();
  h.Propose(a, 3);
  h.Propose(b, 3);
  h.Step();
  EXPECT_EQ(h.TokensOf(a), 3);
  EXPECT_EQ(h.TokensOf(b), 1);
  EXPECT_EQ(a->num_draft, 0) << "those that were not computed are gone too";
}

TEST(SchedulerTrim, DraftsPreemptNobody) {
  // Both sequences' blocks are full after the step; drafts would need a third block each.
  SchedulerHarness h(5, {16, 2, 16});
  Sequence* a = h.Add(3);
  Sequence* b = h.Add(3);
  h.Step();
  h.Propose(a, 7);
  h.Propose(b, 7);
  h.Step();
  EXPECT_TRUE(h.plan.preempted.empty());
  EXPECT_EQ(h.TokensOf(a), 8) << "of 3 blocks left: 2 more";
  EXPECT_EQ(h.TokensOf(b), 5) << "1 more";
}

TEST(SchedulerTrim, APreemptedSequenceWaitsWithoutItsDrafts) {
  SchedulerHarness h(16, {16, 2, 16});
  Sequence* s = h.Add(6);
  h.Step();
  h.Propose(s, 4);
  h.scheduler.Preempt(s);
  EXPECT_EQ(s->num_draft, 0);
  EXPECT_EQ(s->tokens.size(), 7u);
  h.CheckInvariants();
}

// Random operations with scarce blocks against a model that knows only each sequence's tokens and
// how many of them may be computed.
TEST(SchedulerTrim, RandomOperationsKeepEverySequencesContent) {
  int64_t trimmed_blocks = 0;
  int64_t copied_blocks = 0;
  int64_t preempted = 0;
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&](size_t n) { return static_cast<int32_t>(random() % n); };
    const int32_t max_sequences = 1 + below(5);
    const StepBudget budget{max_sequences + below(20), max_sequences, max_sequences + below(12)};
    SchedulerHarness h(14 + below(20), budget);
    std::map<Sequence*, std::vector<int32_t>> expected;
    const auto any = [&] {
      auto it = expected.begin();
      std::advance(it, below(expected.size()));
      return it->first;
    };
    for (int op = 0; op < 500; ++op) {
      if (below(3) == 0) {
        Sequence* s = h.Add(1 + below(30), below(8) == 0 ? 1 : 0, below(2) == 0 ? 5 : -1,
                            below(5) == 0 ? "tenant" : "");
        expected[s] = s->tokens;
      }
      if (expected.empty()) continue;
      if (below(10) == 0) {
        const Sequence* from = any();
        if (from->state == Sequence::State::kRunning) {
          Sequence* to = h.Fork(*from);
          expected[to] = from->tokens;
        }
      }
      if (Sequence* s = any(); below(3) == 0 && s->tokens.size() > 1) {
        const int32_t count = 1 + below(s->tokens.size() - 1);
        const size_t before = s->blocks.size();
        h.scheduler.Trim(s, count);
        trimmed_blocks += static_cast<int64_t>(before - s->blocks.size());
        expected[s].resize(expected[s].size() - static_cast<size_t>(count));
        // Another token follows, as after a draft that was wrong.
        if (s->pending() == 0) {
          s->tokens.push_back(h.next_token);
          expected[s].push_back(h.next_token++);
        }
        h.CheckInvariants();
      }
      if (Sequence* s = any(); below(12) == 0 && s->state == Sequence::State::kRunning) {
        h.scheduler.Preempt(s);
      }
      for (auto& [s, tokens] : expected) {
        if (s->state == Sequence::State::kRunning && s->decodes() && below(2) == 0) {
          h.Propose(s, 1 + below(6));
        }
      }
      h.CheckInvariants();
      std::map<Sequence*, std::pair<int32_t, int32_t>> drafts;  // computed and accepted
      h.Step(kNow, [&](const Sequence& s, int32_t computed) {
        const int32_t accepted = below(static_cast<size_t>(computed) + 1);
        drafts[const_cast<Sequence*>(&s)] = {computed, accepted};
        return accepted;
      });
      copied_blocks += static_cast<int64_t>(h.copies.size());
      preempted += static_cast<int64_t>(h.plan.preempted.size());
      for (auto it = expected.begin(); it != expected.end();) {
        auto& [s, tokens] = *it;
        // The accepted drafts, and the token that the step drew.
        const size_t grown = s->tokens.size() - tokens.size();
        ASSERT_LE(grown, static_cast<size_t>(1 + drafts[s].second));
        ASSERT_TRUE(std::equal(tokens.begin(), tokens.end(), s->tokens.begin()));
        tokens = s->tokens;
        ASSERT_TRUE(h.Holds(*s, BlocksOf(*s), s->num_computed));
        if (tokens.size() < 40 && below(60) != 0) {
          ++it;
          continue;
        }
        h.scheduler.Remove(s);
        it = expected.erase(it);
      }
      // What the cache would give to anyone, ended sequences' blocks included.
      for (const auto& s : h.sequences) {
        const std::vector<BlockId> found = h.FindPrefix(*s);
        ASSERT_TRUE(h.Holds(*s, found, static_cast<int32_t>(found.size()) * kBlockTokens));
      }
    }
    while (!expected.empty()) {
      h.scheduler.Remove(expected.begin()->first);
      expected.erase(expected.begin());
    }
    EXPECT_EQ(h.cache.pool().leased(), 0);
  }
  EXPECT_GT(trimmed_blocks, 1000);
  EXPECT_GT(copied_blocks, 1000);
  EXPECT_GT(preempted, 100);
}

}  // namespace
}  // namespace pingti::worker
