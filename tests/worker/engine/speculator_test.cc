// What sources of drafts are told of each step, in runs with drafts that stand and fall, several
// samples, beams, scarce memory and preemptions.
#include "worker/engine/speculator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "tests/testing/forwarding_model.h"
#include "tests/worker/engine/engine_testing.h"
#include "tests/worker/engine/fake_drafts.h"
#include "tests/worker/engine/mixed_requests.h"

namespace pingti::worker {
namespace {

// Keeps the tokens of its latest step.
class WatchedModel final : public testing::ForwardingModel {
 public:
  using ForwardingModel::ForwardingModel;

  absl::Status Forward(const ForwardBatch& batch, std::span<const BlockCopy> copies) override {
    tokens.assign(batch.token_ids.begin(), batch.token_ids.end());
    positions.assign(batch.positions.begin(), batch.positions.end());
    return ForwardingModel::Forward(batch, copies);
  }

  std::vector<int32_t> tokens;
  std::vector<int32_t> positions;
};

// Proposes drafts, and holds what it is told against the step and the sequences.
class ToldDrafts final : public FakeDrafts {
 public:
  ToldDrafts(const WatchedModel* model, const CollectedMap* answers, const Options& options)
      : FakeDrafts(answers, options), model_(model) {}

  void AfterStep(std::span<const ComputedTokens> computed) override {
    for (const ComputedTokens& told : computed) Check(told);
  }

  int64_t num_told() const { return num_told_; }

 private:
  void Check(const ComputedTokens& told) {
    const Sequence& sequence = *told.sequence;
    ASSERT_GT(told.num_tokens, 0);
    EXPECT_EQ(sequence.state, Sequence::State::kRunning) << "it has ended";
    EXPECT_EQ(sequence.group->beam, nullptr);
    for (int32_t i = 0; i < told.num_tokens; ++i) {
      const auto row = static_cast<size_t>(told.first_row + i);
      ASSERT_LT(row, model_->tokens.size());
      EXPECT_EQ(model_->positions[row], told.first_position + i);
      EXPECT_EQ(model_->tokens[row], sequence.tokens[static_cast<size_t>(told.first_position + i)]);
    }
    // All that is computed, but for a last token whose successor is not known.
    const int32_t end = told.first_position + told.num_tokens;
    EXPECT_EQ(end,
              std::min(sequence.num_computed, static_cast<int32_t>(sequence.tokens.size()) - 1));
    // On from where the step before ended, or from what the cache had.
    const auto [before, is_new] = ends_.try_emplace(
        {sequence.group->request.sequence_id, sequence.index}, told.first_position);
    EXPECT_TRUE(before->second == told.first_position || sequence.num_cached == told.first_position)
        << before->second << " " << told.first_position;
    before->second = end;
    num_told_ += told.num_tokens;
  }

  const WatchedModel* const model_;
  std::map<std::pair<uint64_t, int32_t>, int32_t> ends_;
  int64_t num_told_ = 0;
};

TEST(Speculator, SourcesAreToldOfEveryTokenWhoseSuccessorIsKnown) {
  CoreSetup setup;
  setup.model.eos_penalty = 0.5f;
  setup.max_rows = 40;
  CollectedMap answers;
  {
    TestCore plain(setup);
    for (Request& request : MixedRequests()) plain.Submit(std::move(request));
    plain.RunAll();
    answers = plain.out;
  }
  for (uint32_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    pingti::testing::FakeModel fake(setup.model);
    WatchedModel model(&fake);
    ToldDrafts drafts(&model, &answers, {.wrong_in = 1 + static_cast<int32_t>(seed), .seed = seed});
    setup.drafts = &drafts;
    setup.max_tokens = seed % 2 == 0 ? 64 : 17;
    CoreDriver driver(&model, setup);
    for (Request& request : MixedRequests()) driver.Submit(std::move(request));
    std::mt19937 random(seed);
    while (driver.core->has_work()) {
      if (seed > 3 && random() % 4 == 0) driver.core->PreemptForTest(random() % 8);
      driver.Step();
    }
    driver.RunAll();
    EXPECT_GT(drafts.num_told(), 500);
  }
}

}  // namespace
}  // namespace pingti::worker
