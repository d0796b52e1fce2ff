// The final hidden states that a model gives on request: times the output projection, computed here
// in float64 from the checkpoint's bytes, they are the step's logits. On the device that the
// program is linked for.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "tests/testing/source_dir.h"
#include "tests/worker/backend/device_under_test.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

// [vocab, hidden]; the fixture ties it to the embedding, in bf16.
std::vector<double> OutputProjection(const Checkpoint& checkpoint) {
  const TensorView* tensor = checkpoint.Find("model.embed_tokens.weight");
  EXPECT_EQ(checkpoint.Find("lm_head.weight"), nullptr);
  EXPECT_EQ(tensor->dtype, DType::kBf16);
  std::vector<double> values;
  for (int64_t i = 0; i < tensor->NumElements(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, static_cast<const uint8_t*>(tensor->data) + 2 * i, sizeof(bits));
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof(value));
    values.push_back(static_cast<double>(value));
  }
  return values;
}

class HiddenStatesTest : public ::testing::Test {
 protected:
  // A checkpoint whose heads every device's attention takes.
  void SetUp() override {
    auto checkpoint = OpenCheckpoint(SourcePath("tests/golden/model/tiny/llama_mqa_bias_tied_d64"));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
    device_ = testing::MakeDeviceUnderTest();
    LoadOptions options;
    options.format = device_->is_exact() ? WeightFormat::kF32 : WeightFormat::kBf16;
    auto model = LoadModel(*checkpoint_, device_->backend(), options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    ASSERT_TRUE(model_->Allocate(8, 16, 32, 8).ok());
    projection_ = OutputProjection(*checkpoint_);
  }

  // One sequence from `position` on, rows of logits at `logit_tokens`; checks every row.
  void Step(int32_t position, const std::vector<int32_t>& tokens,
            const std::vector<int32_t>& logit_tokens) {
    std::vector<int32_t> positions(tokens.size());
    std::iota(positions.begin(), positions.end(), position);
    const int32_t count = static_cast<int32_t>(tokens.size());
    const std::vector<int32_t> start = {0, count};
    const std::vector<int32_t> context = {position + count};
    const std::vector<int32_t> table = {3, 1};
    ASSERT_TRUE(
        model_->Forward({tokens, positions, start, context, table, 2, logit_tokens}, {}).ok());
    const auto hidden_size = static_cast<size_t>(model_->hidden_size());
    std::vector<float> hidden(logit_tokens.size() * hidden_size, NAN);
    ASSERT_TRUE(model_->HiddenStates(hidden).ok());
    for (size_t row = 0; row < logit_tokens.size(); ++row) {
      CheckRow(static_cast<int32_t>(row),
               std::span(hidden).subspan(row * hidden_size, hidden_size));
    }
  }

  // Appends counts[s] tokens to sequence s, whose blocks are 2s and 2s + 1, with a row of logits
  // for every token.
  void StepOfMany(const std::vector<int32_t>& counts, std::vector<int32_t>* lengths) {
    std::vector<int32_t> tokens, positions, start{0}, context, table, rows;
    for (size_t s = 0; s < counts.size(); ++s) {
      for (int32_t i = 0; i < counts[s]; ++i) {
        positions.push_back((*lengths)[s]++);
        tokens.push_back((positions.back() * 7 + static_cast<int32_t>(s) * 11) % 40);
        rows.push_back(static_cast<int32_t>(rows.size()));
      }
      start.push_back(static_cast<int32_t>(tokens.size()));
      context.push_back((*lengths)[s]);
      table.push_back(static_cast<int32_t>(2 * s));
      table.push_back(static_cast<int32_t>(2 * s + 1));
    }
    ASSERT_TRUE(model_->Forward({tokens, positions, start, context, table, 2, rows}, {}).ok());
    const auto hidden_size = static_cast<size_t>(model_->hidden_size());
    std::vector<float> hidden(rows.size() * hidden_size, NAN);
    ASSERT_TRUE(model_->HiddenStates(hidden).ok());
    for (size_t row = 0; row < rows.size(); ++row) {
      CheckRow(static_cast<int32_t>(row),
               std::span(hidden).subspan(row * hidden_size, hidden_size));
    }
  }

  void CheckRow(int32_t row, std::span<const float> hidden) {
    const auto vocab = static_cast<size_t>(model_->vocab_size());
    std::vector<double> logits(vocab, 0.0);
    double sum = 0.0;
    for (size_t token = 0; token < vocab; ++token) {
      for (size_t i = 0; i < hidden.size(); ++i) {
        logits[token] += static_cast<double>(hidden[i]) * projection_[token * hidden.size() + i];
      }
      sum += std::exp(logits[token]);
    }
    std::vector<LogprobRequest> requests;
    for (size_t token = 0; token < vocab; ++token) {
      requests.push_back({row, static_cast<int32_t>(token), 0});
    }
    std::vector<SampledToken> results(vocab);
    ASSERT_TRUE(model_->Logprobs(requests, results).ok());
    for (size_t token = 0; token < vocab; ++token) {
      // The states were rounded before the product, so that even a bf16 device is close.
      EXPECT_NEAR(static_cast<double>(results[token].logprob), logits[token] - std::log(sum), 1e-3)
          << "row " << row << ", token " << token;
    }
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<testing::DeviceUnderTest> device_;
  std::unique_ptr<Model> model_;
  std::vector<double> projection_;
};

TEST_F(HiddenStatesTest, TimesTheOutputProjectionAreTheLogits) {
  ASSERT_NO_FATAL_FAILURE(Step(0, {3, 14, 15, 9, 26, 5}, {5}));     // a prompt's last row
  ASSERT_NO_FATAL_FAILURE(Step(6, {35, 8, 9, 7, 9}, {1, 3}));       // some rows
  ASSERT_NO_FATAL_FAILURE(Step(11, {3, 2, 38, 46}, {0, 1, 2, 3}));  // all rows
  for (int i = 0; i < 3; ++i) {
    ASSERT_NO_FATAL_FAILURE(Step(15 + i, {26 + i}, {0})) << "a recorded step, where there are such";
  }
}

TEST_F(HiddenStatesTest, OfUnequallyLongSequencesAreRightInRepeatedSteps) {
  std::vector<int32_t> lengths(4, 0);
  for (int i = 0; i < 4; ++i) {
    ASSERT_NO_FATAL_FAILURE(StepOfMany({1, 4, 2}, &lengths)) << i;
    ASSERT_NO_FATAL_FAILURE(StepOfMany({2, 4, 3, 1}, &lengths)) << i << ", many rows";
  }
}

TEST_F(HiddenStatesTest, OfAStepWithoutRowsAreNone) {
  ASSERT_NO_FATAL_FAILURE(Step(0, {3, 14, 15}, {}));
}

}  // namespace
}  // namespace pingti::worker
