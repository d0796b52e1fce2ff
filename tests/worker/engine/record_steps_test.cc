// Steps that a device is to have records of are run twice before any request, each in its shape.
#include "worker/engine/record_steps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/testing/fake_model.h"
#include "tests/testing/forwarding_model.h"
#include "worker/model/draft_head.h"

namespace pingti::worker {
namespace {

// Notes the shapes of its steps, and computes nothing.
class NotedSteps : public testing::ForwardingModel {
 public:
  explicit NotedSteps(Model* inner) : ForwardingModel(inner) {}

  std::vector<StepShape> RecordedSteps(int32_t max_tokens, int32_t max_query_len) const override {
    asked = {max_tokens, max_query_len};
    return to_record;
  }
  absl::Status Forward(const ForwardBatch& batch, std::span<const BlockCopy>) override {
    StepShape shape{batch.num_seqs(), 0, batch.num_tokens()};
    for (size_t s = 0; s < batch.context_len.size(); ++s) {
      const int32_t first = batch.query_start[s];
      const int32_t length = batch.query_start[s + 1] - first;
      EXPECT_EQ(batch.positions[static_cast<size_t>(first)], 0);
      EXPECT_EQ(batch.context_len[s], length);
      shape.query_len = std::max(shape.query_len, length);
    }
    shape.uniform = shape.num_seqs * shape.query_len == shape.num_tokens;
    shape.highest_only = batch.highest_only;
    EXPECT_EQ(batch.logit_tokens.size(), batch.token_ids.size());
    EXPECT_EQ(batch.max_blocks_per_seq, (shape.query_len + 3) / 4);
    EXPECT_TRUE(std::all_of(batch.block_table.begin(), batch.block_table.end(),
                            [](int32_t block) { return block == 0; }));
    steps.push_back(shape);
    return result;
  }
  absl::Status Sample(std::span<const SamplingRow> rows, std::span<SampledToken>) override {
    EXPECT_EQ(static_cast<int32_t>(rows.size()), steps.back().num_tokens);
    EXPECT_TRUE(std::all_of(rows.begin(), rows.end(), TakesHighest));
    return absl::OkStatus();
  }

  DraftHead* draft_head() override { return head; }

  std::vector<StepShape> to_record;
  std::vector<StepShape> steps;
  mutable std::pair<int32_t, int32_t> asked;
  absl::Status result;
  DraftHead* head = nullptr;
};

// Notes the shapes of its batches, and computes nothing.
class NotedBatches : public DraftHead {
 public:
  int32_t max_tokens() const override { return 64; }
  int32_t block_tokens() const override { return 4; }
  int32_t first_spare_block() const override { return 100; }
  int32_t spare_blocks_per_seq() const override { return 2; }
  std::vector<StepShape> RecordedBatches(int32_t max_query_len) const override {
    EXPECT_EQ(max_query_len, 8);
    return to_record;
  }
  int64_t num_read() const override { return 0; }
  void Note(std::span<const UnreadToken>) override { ADD_FAILURE() << "nothing was computed"; }
  absl::Status Forward(const HeadBatch& batch) override {
    StepShape shape{batch.num_seqs(), 0, batch.num_tokens(), false};
    shape.work = batch.is_chain ? StepWork::kHeadChain : StepWork::kHeadDrafts;
    for (size_t s = 0; s < batch.context_len.size(); ++s) {
      const int32_t length = batch.query_start[s + 1] - batch.query_start[s];
      EXPECT_EQ(batch.context_len[s], length);
      shape.query_len = std::max(shape.query_len, length);
    }
    EXPECT_EQ(batch.states.size(), batch.token_ids.size());
    EXPECT_TRUE(std::all_of(batch.states.begin(), batch.states.end(),
                            [](int32_t state) { return state == 0; }));
    batches.push_back(shape);
    return absl::OkStatus();
  }
  absl::Status Sample(std::span<const SamplingRow> rows, std::span<SampledToken>) override {
    EXPECT_EQ(static_cast<int32_t>(rows.size()), batches.back().num_seqs);
    return absl::OkStatus();
  }

  std::vector<StepShape> to_record;
  std::vector<StepShape> batches;
};

TEST(RecordDraftSteps, RunsEachShapeTwiceInTheOrderGiven) {
  pingti::testing::FakeModel inner((pingti::testing::FakeModelOptions()));
  NotedSteps model(&inner);
  model.to_record = {{4, 8, 32, true, false},
                     {5, 8, 13, false, true},
                     {5, 3, 13, false, false},
                     {2, 8, 9, false, false},
                     {1, 2, 2, true, false}};
  ASSERT_TRUE(RecordDraftSteps(&model, 64, 7, 4).ok());
  EXPECT_EQ(model.asked, std::make_pair(64, 8));
  ASSERT_EQ(model.steps.size(), 2 * model.to_record.size());
  for (size_t i = 0; i < model.steps.size(); ++i) {
    EXPECT_TRUE(model.steps[i] == model.to_record[i / 2]) << "step " << i;
  }
}

TEST(RecordDraftSteps, RunsTheHeadsBatchesTwiceBehindAStepOfTheModel) {
  pingti::testing::FakeModel inner((pingti::testing::FakeModelOptions()));
  NotedSteps model(&inner);
  NotedBatches head;
  model.head = &head;
  ASSERT_TRUE(RecordDraftSteps(&model, 64, 7, 4).ok());
  EXPECT_TRUE(model.steps.empty() && head.batches.empty());
  head.to_record = {{3, 8, 17, false}, {3, 1, 3, false}};
  head.to_record[0].work = StepWork::kHeadDrafts;
  head.to_record[1].work = StepWork::kHeadChain;
  ASSERT_TRUE(RecordDraftSteps(&model, 64, 7, 4).ok());
  ASSERT_EQ(model.steps.size(), 1u);
  ASSERT_EQ(head.batches.size(), 4u);
  for (size_t i = 0; i < head.batches.size(); ++i) {
    EXPECT_TRUE(head.batches[i] == head.to_record[i / 2]) << "batch " << i;
  }
}

TEST(RecordDraftSteps, AModelWithoutRecordsRunsNothingAndAnErrorEndsIt) {
  pingti::testing::FakeModel inner((pingti::testing::FakeModelOptions()));
  NotedSteps model(&inner);
  EXPECT_TRUE(RecordDraftSteps(&model, 64, 7, 4).ok());
  EXPECT_TRUE(model.steps.empty());
  model.to_record = {{1, 2, 2, true, false}, {1, 3, 3, true, false}};
  model.result = absl::ResourceExhaustedError("no memory");
  EXPECT_EQ(RecordDraftSteps(&model, 64, 7, 4), model.result);
  EXPECT_EQ(model.steps.size(), 1u);
}

}  // namespace
}  // namespace pingti::worker
