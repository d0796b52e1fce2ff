// What the scheduler's tests share: a scheduler with its cache, stepped by hand, over memory that
// holds what a model would have written.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/base/block_hash.h"
#include "worker/engine/scheduler.h"

namespace pingti::worker {

inline constexpr int32_t kBlockTokens = 4;
inline const TimePoint kNow = TimePoint(std::chrono::hours(1));

class SchedulerHarness {
 public:
  SchedulerHarness(int32_t num_blocks, StepBudget budget)
      : cache(num_blocks, kBlockTokens),
        scheduler(&cache, budget),
        cells_(static_cast<size_t>(num_blocks) * kBlockTokens, 0) {}
  ~SchedulerHarness() {
    for (auto& sequence : sequences) scheduler.Remove(sequence.get());
  }

  // A sequence that is not queued yet, with tokens of its own unless `first_token` says else.
  Sequence* Make(int32_t num_tokens, int32_t priority = 0, int32_t first_token = -1) {
    sequences.push_back(std::make_unique<Sequence>());
    Sequence* s = sequences.back().get();
    s->order = sequences.size();
    s->priority = priority;
    for (int32_t i = 0; i < num_tokens; ++i) {
      s->tokens.push_back(first_token >= 0 ? first_token + i
                                           : static_cast<int32_t>(s->order) * 1000 + i);
    }
    return s;
  }
  Sequence* Add(int32_t num_tokens, int32_t priority = 0, int32_t first_token = -1,
                const std::string& salt = "") {
    Sequence* s = Make(num_tokens, priority, first_token);
    s->salt = salt;
    Scheduler::ExtendHashes(s, kBlockTokens);
    scheduler.Add(s);
    return s;
  }
  Sequence* Fork(const Sequence& from) {
    Sequence* to = Make(0);
    scheduler.Fork(from, to);
    return to;
  }
  // Appends drafts to a sequence that decodes.
  void Propose(Sequence* sequence, int32_t num_drafts) {
    ASSERT_TRUE(sequence->decodes());
    for (int32_t i = 0; i < num_drafts; ++i) sequence->tokens.push_back(next_token++);
    sequence->num_draft += num_drafts;
  }

  // One whole step. Every sequence that caught up gets one more token, unless it is waiting, after
  // as many of its computed drafts as `accept` says; the other drafts are taken back.
  const StepPlan& Step(
      TimePoint now = kNow, const std::function<int32_t(const Sequence&, int32_t)>& accept =
                                [](const Sequence&, int32_t) { return 0; }) {
    scheduler.Plan(now, &plan);
    StepPlan again;
    scheduler.Plan(now, &again);
    EXPECT_EQ(again.num_tokens, plan.num_tokens) << "Plan is not pure";
    EXPECT_EQ(again.preempted, plan.preempted);
    copies.clear();
    scheduler.Apply(plan, &copies);
    WriteCells();
    for (const PlannedChunk& chunk : plan.chunks) {
      Sequence* s = chunk.sequence;
      const int32_t drafts = chunk.num_tokens - (s->pending() - s->num_draft);
      if (s->num_draft == 0) {
        scheduler.Commit(s, chunk.num_tokens);
      } else {
        const int32_t accepted = accept(*s, drafts);
        scheduler.Commit(s, 1 + accepted);
        s->num_draft -= accepted;
        scheduler.Trim(s, s->num_draft);
      }
    }
    for (const PlannedChunk& chunk : plan.chunks) {
      const bool caught_up =
          chunk.sequence->tokens.size() == static_cast<size_t>(chunk.sequence->num_computed);
      if (caught_up && waiting.count(chunk.sequence) == 0) GiveToken(chunk.sequence);
    }
    CheckInvariants();
    return plan;
  }

  void GiveToken(Sequence* sequence) { sequence->tokens.push_back(next_token++); }

  void CheckInvariants() const {
    const absl::Status status = scheduler.CheckInvariants();
    EXPECT_TRUE(status.ok()) << status.ToString();
  }

  int32_t TokensOf(const Sequence* sequence) const {
    for (const PlannedChunk& chunk : plan.chunks) {
      if (chunk.sequence == sequence) return chunk.num_tokens;
    }
    return 0;
  }

  // Whether the first `count` tokens' cells hold what computing the sequence's tokens writes.
  ::testing::AssertionResult Holds(const Sequence& sequence, std::span<const BlockId> blocks,
                                   int32_t count) const {
    uint64_t cell = 1;
    for (int32_t p = 0; p < count; ++p) {
      cell = NextCell(cell, sequence.tokens[static_cast<size_t>(p)]);
      if (cells_[CellOf(blocks[static_cast<size_t>(p / kBlockTokens)], p)] == cell) continue;
      return ::testing::AssertionFailure() << "sequence " << sequence.order << ", position " << p;
    }
    return ::testing::AssertionSuccess();
  }

  // The blocks of the sequence's longest prefix that can be found now, leased or not.
  std::vector<BlockId> FindPrefix(const Sequence& sequence) const {
    std::vector<BlockId> blocks;
    ChainLink link;
    for (size_t i = 0; i < sequence.block_hashes.size(); ++i) {
      const auto tokens = std::span(sequence.tokens).subspan(i * kBlockTokens, kBlockTokens);
      const BlockId block =
          cache.Find(link, sequence.block_hashes[i], tokens, sequence.salt, &link);
      if (block == kNoBlock) break;
      blocks.push_back(block);
    }
    return blocks;
  }

  PrefixCache cache;
  Scheduler scheduler;
  StepPlan plan;
  std::vector<PlannedCopy> copies;
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::set<const Sequence*> waiting;  // as beams do for the others of their request
  int32_t next_token = 1'000'000;

 private:
  static uint64_t NextCell(uint64_t previous, int32_t token) {
    return ChainBlockHash(previous, std::span(&token, 1));
  }
  static size_t CellOf(BlockId block, int32_t position) {
    return static_cast<size_t>(block) * kBlockTokens + static_cast<size_t>(position % kBlockTokens);
  }

  // What the model does: copies first, then each chunk's cells, each from the one before it.
  void WriteCells() {
    for (const PlannedCopy& copy : copies) {
      for (int32_t i = 0; i < kBlockTokens; ++i) {
        cells_[CellOf(copy.to, i)] = cells_[CellOf(copy.from, i)];
      }
    }
    for (const PlannedChunk& chunk : plan.chunks) {
      const Sequence& s = *chunk.sequence;
      const auto cell = [&](int32_t position) -> uint64_t& {
        return cells_[CellOf(s.blocks[static_cast<size_t>(position / kBlockTokens)].block(),
                             position)];
      };
      for (int32_t p = s.num_computed; p < s.num_computed + chunk.num_tokens; ++p) {
        cell(p) = NextCell(p == 0 ? 1 : cell(p - 1), s.tokens[static_cast<size_t>(p)]);
      }
    }
  }

  std::vector<uint64_t> cells_;  // [num_blocks, kBlockTokens]
};

}  // namespace pingti::worker
