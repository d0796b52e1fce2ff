// What a model tells of how unevenly its tokens fall on experts.
#include "worker/model/expert_counts.h"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "tests/testing/source_dir.h"
#include "tests/worker/backend/device_under_test.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"

namespace pingti::worker {
namespace {

TEST(ExpertCounts, ImbalanceIsTheBusiestExpertOverTheMean) {
  EXPECT_EQ(ImbalanceOf(std::vector<float>{7, 7, 7}), 1.0);
  EXPECT_EQ(ImbalanceOf(std::vector<float>{0, 12, 0, 0}), 4.0);
  EXPECT_EQ(ImbalanceOf(std::vector<float>{1, 3, 2}), 1.5);
  EXPECT_EQ(ImbalanceOf(std::vector<float>{0, 0}), 1.0);
}

class ExpertCountsTest : public ::testing::Test {
 protected:
  void Load(const std::string& fixture) {
    auto checkpoint = OpenCheckpoint(SourcePath("tests/golden/model/tiny/" + fixture));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
    LoadOptions options;
    options.format = device_->is_exact() ? WeightFormat::kF32 : WeightFormat::kBf16;
    auto model = LoadModel(*checkpoint_, device_->backend(), options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    ASSERT_TRUE(model_->Allocate(8, 16, kTokens, 1).ok());
  }

  void RunTokens(int32_t token) {
    const std::vector<int32_t> tokens(kTokens, token);
    std::vector<int32_t> positions(kTokens);
    std::iota(positions.begin(), positions.end(), 0);
    const std::vector<int32_t> start = {0, kTokens};
    const std::vector<int32_t> context = {kTokens};
    const std::vector<int32_t> table = {0, 1};
    const std::vector<int32_t> rows = {kTokens - 1};
    ASSERT_TRUE(model_->Forward({tokens, positions, start, context, table, 2, rows}, {}).ok());
  }

  // After so many steps; none before.
  double ImbalanceAfter(int64_t steps, int32_t token) {
    for (int64_t i = 0; i < steps; ++i) {
      const auto imbalance = model_->TakeExpertImbalance();
      EXPECT_TRUE(imbalance.ok() && !imbalance->has_value()) << "after " << i << " steps";
      RunTokens(token);
    }
    const auto imbalance = model_->TakeExpertImbalance();
    EXPECT_TRUE(imbalance.ok() && imbalance->has_value());
    return imbalance.ok() ? imbalance->value_or(0.0) : 0.0;
  }

  static constexpr int32_t kTokens = 32;
  std::unique_ptr<testing::DeviceUnderTest> device_ = testing::MakeDeviceUnderTest();
  std::unique_ptr<Checkpoint> checkpoint_;  // the model may read its embeddings from there
  std::unique_ptr<Model> model_;
};

// The same token again and again goes to few experts, and each answer is of its own window.
TEST_F(ExpertCountsTest, AModelTellsOnceThereWereEnoughTokens) {
  ASSERT_NO_FATAL_FAILURE(Load("qwen3_moe"));
  const ExpertRouting& routing = checkpoint_->spec().layers.back().experts->routing;
  const int64_t per_step = kTokens * routing.experts_per_token;
  const int64_t needed = ExpertCounts::kLeastChoices * routing.num_experts;
  const int64_t steps = (needed + per_step - 1) / per_step;
  const double most =
      static_cast<double>(routing.num_experts) / static_cast<double>(routing.experts_per_token);
  for (const int32_t token : {5, 77}) {
    const double imbalance = ImbalanceAfter(steps, token);
    EXPECT_GT(imbalance, 1.0);
    EXPECT_LE(imbalance, most * (1 + 1e-9));
  }
}

TEST_F(ExpertCountsTest, AModelWithoutExpertsHasNothingToTell) {
  ASSERT_NO_FATAL_FAILURE(Load("llama_mqa_bias_tied_d64"));
  for (int i = 0; i < 40; ++i) RunTokens(5);
  const auto imbalance = model_->TakeExpertImbalance();
  ASSERT_TRUE(imbalance.ok());
  EXPECT_FALSE(imbalance->has_value());
}

}  // namespace
}  // namespace pingti::worker
