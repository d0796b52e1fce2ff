#include "tools/profile/step_batch.h"

#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace pingti::tools {
namespace {

constexpr int32_t kBlockTokens = 16;

std::vector<int32_t> Prompt(int32_t length) {
  std::vector<int32_t> prompt(static_cast<size_t>(length));
  std::iota(prompt.begin(), prompt.end(), 1000);
  return prompt;
}

TEST(StepBatch, PrefillStepsHoldEachTokenOnceAndAskForLogitsWhereAPromptEnds) {
  constexpr int32_t kSeqs = 5;
  constexpr int32_t kLength = 37;
  StepBatch batch(kSeqs, Prompt(kLength), 3, kBlockTokens);
  for (const int64_t max_tokens : {5, 36, 37, 38, 100, 1000}) {
    std::map<int32_t, int32_t> done;  // tokens of the sequence whose first block is the key
    int logits = 0;
    const int steps = batch.NumPrefillSteps(max_tokens);
    for (int i = 0; i < steps; ++i) {
      const worker::ForwardBatch step = batch.PrefillStep(i, max_tokens);
      EXPECT_LE(step.num_tokens(), max_tokens);
      EXPECT_GT(step.num_tokens(), 0);
      std::set<int32_t> ends;
      for (int32_t s = 0; s < step.num_seqs(); ++s) {
        const auto at = static_cast<size_t>(s);
        int32_t& position =
            done[step.block_table[at * static_cast<size_t>(step.max_blocks_per_seq)]];
        for (int32_t t = step.query_start[at]; t < step.query_start[at + 1]; ++t) {
          EXPECT_EQ(step.positions[static_cast<size_t>(t)], position);
          EXPECT_EQ(step.token_ids[static_cast<size_t>(t)], 1000 + position);
          ++position;
        }
        EXPECT_EQ(step.context_len[at], position);
        if (position == kLength) ends.insert(step.query_start[at + 1] - 1);
      }
      EXPECT_EQ(std::set<int32_t>(step.logit_tokens.begin(), step.logit_tokens.end()), ends);
      logits += static_cast<int>(step.logit_tokens.size());
    }
    EXPECT_EQ(done.size(), size_t{kSeqs}) << max_tokens;
    EXPECT_EQ(logits, kSeqs) << max_tokens;
  }
}

TEST(StepBatch, DecodeStepHasOneTokenOfEachSequenceInItsOwnBlocks) {
  StepBatch batch(3, Prompt(30), 4, kBlockTokens);
  EXPECT_EQ(batch.num_blocks(), 9);  // 34 tokens take three blocks each
  const worker::ForwardBatch step = batch.DecodeStep(33);
  EXPECT_EQ(step.num_tokens(), 3);
  EXPECT_EQ(step.num_seqs(), 3);
  EXPECT_EQ(std::vector<int32_t>(step.context_len.begin(), step.context_len.end()),
            (std::vector<int32_t>{34, 34, 34}));
  EXPECT_EQ(std::vector<int32_t>(step.block_table.begin(), step.block_table.end()),
            (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(step.logit_tokens.size(), 3u);
}

}  // namespace
}  // namespace pingti::tools
