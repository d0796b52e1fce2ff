// The default model's greedy answers against transformers' reading of the same GGUF file (fixture
// and script in tests/golden/model), on the device that the program is linked for. Needs the model
// file: PINGTI_TEST_MODEL names it; `make test` fetches it and sets the variable.
//
// The model is made to take transformers' tokens, so that every token is compared and none is lost
// behind a near tie.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/testing/source_dir.h"
#include "tests/worker/backend/device_under_test.h"
#include "tests/worker/model/model_runner.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

using testing::JudgedToken;
using testing::ModelRunner;

// What an exact device (see DeviceUnderTest) and one that computes in bf16 owe.
struct Bounds {
  WeightFormat format;
  double near_tie;       // of transformers' two highest logits: closer ones may change places
  double equal_share;    // of all tokens
  double batched_delta;  // of a token's log-probability, alone and in a batch
};
constexpr Bounds kExact{WeightFormat::kF32, 1e-3, 1.0, 0.0};
constexpr Bounds kBf16{WeightFormat::kBf16, 0.4, 0.95, 0.25};

struct GoldenCase {
  std::string prompt;
  std::vector<int32_t> input_ids;
  std::vector<int32_t> output_ids;
  std::vector<double> gaps;
};

std::vector<GoldenCase> ReadGolden() {
  std::ifstream file(SourcePath("tests/golden/model/smollm2_greedy.json"));
  std::stringstream text;
  text << file.rdbuf();
  std::vector<GoldenCase> cases;
  const boost::json::value root = boost::json::parse(text.str());
  for (const boost::json::value& item : root.at("cases").as_array()) {
    cases.push_back({boost::json::value_to<std::string>(item.at("prompt")),
                     boost::json::value_to<std::vector<int32_t>>(item.at("input_ids")),
                     boost::json::value_to<std::vector<int32_t>>(item.at("output_ids")),
                     boost::json::value_to<std::vector<double>>(item.at("gaps"))});
  }
  return cases;
}

class GoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("PINGTI_TEST_MODEL");
    if (path == nullptr || *path == '\0') {
      GTEST_SKIP()
          << "PINGTI_TEST_MODEL is not set: `make test` fetches the default model and sets "
             "it, or set it to the path of SmolLM2-135M-Instruct.Q4_1.gguf";
    }
    absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint = OpenCheckpoint(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
    device_ = testing::MakeDeviceUnderTest();
    bounds_ = device_->is_exact() ? kExact : kBf16;
  }

  void Load(WeightFormat format) {
    LoadOptions options;
    options.format = format;
    absl::StatusOr<std::unique_ptr<Model>> model =
        LoadModel(*checkpoint_, device_->backend(), options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<testing::DeviceUnderTest> device_;
  Bounds bounds_;
  std::unique_ptr<Model> model_;
};

TEST_F(GoldenTest, TheLikeliestTokensAreTransformersButForNearTies) {
  ASSERT_NO_FATAL_FAILURE(Load(bounds_.format));
  const std::vector<GoldenCase> cases = ReadGolden();
  ASSERT_EQ(cases.size(), 20u);
  int tokens = 0;
  int equal = 0;
  double widest = 0.0;
  for (const GoldenCase& golden : cases) {
    ModelRunner runner(model_.get(), {});
    const auto judged = runner.Judge({golden.input_ids}, {golden.output_ids});
    ASSERT_TRUE(judged.ok()) << judged.status();
    for (size_t i = 0; i < golden.output_ids.size(); ++i) {
      ++tokens;
      if ((*judged)[0][i].likeliest == golden.output_ids[i]) {
        ++equal;
        continue;
      }
      widest = std::max(widest, golden.gaps[i]);
      EXPECT_LT(golden.gaps[i], bounds_.near_tie) << "'" << golden.prompt << "', token " << i;
    }
  }
  std::cout << equal << " of " << tokens << " tokens are equal; the others' two highest logits are "
            << "within " << widest << "\n";
  EXPECT_GE(equal, bounds_.equal_share * tokens);
}

TEST_F(GoldenTest, BatchedAnswersEqualSingleAnswers) {
  ASSERT_NO_FATAL_FAILURE(Load(WeightFormat::kStored));
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::vector<int32_t>> answers;
  for (const GoldenCase& golden : ReadGolden()) {
    prompts.push_back(golden.input_ids);
    answers.push_back(golden.output_ids);
  }
  testing::RunnerOptions options;
  options.max_batch_tokens = 2048;
  ModelRunner together(model_.get(), options);
  const auto batched = together.Judge(prompts, answers);
  ASSERT_TRUE(batched.ok()) << batched.status();
  double widest = 0.0;
  for (size_t s = 0; s < prompts.size(); ++s) {
    ModelRunner alone(model_.get(), options);
    const auto single = alone.Judge({prompts[s]}, {answers[s]}, /*chunk=*/7);
    ASSERT_TRUE(single.ok()) << single.status();
    for (size_t i = 0; i < answers[s].size(); ++i) {
      const JudgedToken& one = (*single)[0][i];
      const JudgedToken& other = (*batched)[s][i];
      SCOPED_TRACE(::testing::Message() << "prompt " << s << ", token " << i);
      const double delta = std::abs(one.logprob - other.logprob);
      widest = std::max(widest, delta);
      EXPECT_LE(delta, bounds_.batched_delta);
      if (one.likeliest == other.likeliest) continue;
      EXPECT_LE(std::min(one.gap, other.gap), bounds_.batched_delta);
    }
  }
  std::cout << "log-probabilities alone and in a batch differ by at most " << widest << "\n";
}

}  // namespace
}  // namespace pingti::worker
