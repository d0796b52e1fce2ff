// Which tokens of a step get rows of logits, and what each row says to the sampler.
#include "worker/engine/step_batch.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "tests/worker/engine/group_testing.h"

namespace pingti::worker {
namespace {

// A batch of the harness's next step.
class StepBatchTest : public ::testing::Test {
 protected:
  void Build() {
    h_.Plan();
    batch_.Build(h_.plan, h_.copies);
  }
  // Computes the prompt and appends `token`, then `drafts`.
  Sequence* Decoding(Request request, int32_t token, const std::vector<int32_t>& drafts) {
    group_ = h_.Add(std::move(request));
    Build();
    Sequence* sequence = &group_->samples[0]->sequence;
    h_.scheduler.Commit(sequence, sequence->pending());
    sequence->tokens.push_back(token);
    group_->samples[0]->sampling.AddOutput(token);
    group_->samples[0]->num_output = 1;
    sequence->tokens.insert(sequence->tokens.end(), drafts.begin(), drafts.end());
    sequence->num_draft = static_cast<int32_t>(drafts.size());
    return sequence;
  }
  std::vector<int32_t> LogitTokens() const {
    const auto tokens = batch_.forward().logit_tokens;
    return {tokens.begin(), tokens.end()};
  }
  static bool Allowed(const SamplingRow& row, int32_t token) {
    return row.allowed_mask.empty() || (row.allowed_mask[token / 32] >> (token % 32) & 1u) != 0;
  }

  PartsHarness h_{{8, 4, 20}};
  StepBatch batch_{{8, 4, 20}, 50};
  RequestGroup* group_ = nullptr;
};

TEST_F(StepBatchTest, APromptIsDrawnFromAtItsEndOnly) {
  RequestGroup* group = h_.Add(MakeRequest(1, {5, 6, 7, 8, 9, 10, 11, 12, 13, 14}, 4));
  Build();
  EXPECT_EQ(batch_.forward().num_tokens(), 8);
  EXPECT_TRUE(LogitTokens().empty());
  EXPECT_TRUE(batch_.drawn(0).empty());
  EXPECT_FALSE(batch_.draws_anything());
  h_.scheduler.Commit(&group->samples[0]->sequence, 8);
  Build();
  EXPECT_EQ(LogitTokens(), std::vector<int32_t>{1});
  EXPECT_EQ(batch_.drawn(0).size(), 1u);
  EXPECT_EQ(batch_.sampling_rows()[0].position, 10u);
}

TEST_F(StepBatchTest, PromptLogprobsTakeARowPerToken) {
  Request request = MakeRequest(1, {5, 6, 7}, 4);
  request.logprobs = {true, 2, true};
  h_.Add(request);
  Build();
  EXPECT_EQ(LogitTokens(), (std::vector<int32_t>{0, 1, 2}));
  ASSERT_EQ(batch_.logprob_requests().size(), 2u);
  EXPECT_EQ(batch_.logprob_requests()[1].token_id, 7);
  batch_.logprob_results();
  EXPECT_EQ(batch_.prompt_logprobs(0).size(), 2u);
  EXPECT_EQ(batch_.drawn(0).data(), batch_.sampled().data() + 2);
}

TEST_F(StepBatchTest, PromisesToAskForTheHighestAloneOnlyOfRowsThatTakeNoMore) {
  const auto promise = [](const std::function<void(Request*)>& change) {
    PartsHarness harness{{8, 4, 20}};
    StepBatch batch{{8, 4, 20}, 50};
    Request greedy = MakeRequest(1, {5, 6}, 4);
    greedy.sampling.temperature = 0.0f;
    harness.Add(greedy);
    Request other = MakeRequest(2, {7, 8}, 4);
    other.sampling.temperature = 0.0f;
    change(&other);
    harness.Add(other);
    harness.Plan();
    batch.Build(harness.plan, harness.copies);
    return batch.forward().highest_only;
  };
  EXPECT_TRUE(promise([](Request*) {}));
  EXPECT_TRUE(promise([](Request* r) {
    r->sampling.temperature = 1.0f;
    r->sampling.top_k = 1;
  }));
  EXPECT_FALSE(promise([](Request* r) { r->sampling.temperature = 1.0f; }));
  EXPECT_FALSE(promise([](Request* r) { r->sampling.logit_bias = {{3, 1.0f}}; }));
  EXPECT_FALSE(promise([](Request* r) { r->sampling.presence_penalty = 0.5f; }));
  EXPECT_FALSE(promise([](Request* r) { r->logprobs = {true, 0, false}; }));
  EXPECT_FALSE(promise([](Request* r) { r->logprobs = {true, 0, true}; }));
}

TEST_F(StepBatchTest, EveryDraftHasARowAtItsOwnPosition) {
  Decoding(MakeRequest(1, {5, 6, 7}, 9), 8, {20, 21, 22});
  Build();
  EXPECT_EQ(batch_.forward().num_tokens(), 4);
  EXPECT_EQ(LogitTokens(), (std::vector<int32_t>{0, 1, 2, 3}));
  ASSERT_EQ(batch_.drawn(0).size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(batch_.sampling_rows()[i].position, 4 + i);
}

TEST_F(StepBatchTest, StopsAreSuppressedAsFarAsMinTokensReachesIntoTheDrafts) {
  Request request = MakeRequest(1, {5, 6, 7}, 9);
  request.stop.min_tokens = 3;
  Decoding(request, 8, {20, 21, 22});
  Build();
  std::vector<bool> allowed;
  for (const SamplingRow& row : batch_.sampling_rows()) allowed.push_back(Allowed(row, kEos));
  // Row i draws output token 2 + i.
  EXPECT_EQ(allowed, (std::vector<bool>{false, false, true, true}));
}

TEST_F(StepBatchTest, PenaltiesCountTheDraftsBeforeARow) {
  Request request = MakeRequest(1, {5, 6, 7}, 9);
  request.sampling.presence_penalty = 0.5f;
  Decoding(request, 8, {20, 8, 20});
  Build();
  const auto outputs = [&](size_t row, int32_t token) {
    for (const TokenCount& count : batch_.sampling_rows()[row].token_counts) {
      if (count.token_id == token) return count.output_count;
    }
    return -1;
  };
  const std::vector<int32_t> of_8 = {1, 1, 2, 2};
  const std::vector<int32_t> of_20 = {-1, 1, 1, 2};
  for (size_t row = 0; row < 4; ++row) {
    EXPECT_EQ(outputs(row, 8), of_8[row]) << row;
    EXPECT_EQ(outputs(row, 20), of_20[row]) << row;
    EXPECT_EQ(outputs(row, 5), 0) << row;
  }
}

}  // namespace
}  // namespace pingti::worker
