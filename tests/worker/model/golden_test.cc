// The default model's greedy answers against transformers' reading of the same GGUF file (fixture
// and script in tests/golden/model). Needs the model file: PINGTI_TEST_MODEL names it; `make test`
// fetches it and sets the variable.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/worker/model/model_runner.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/model/load_model.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {
namespace {

using testing::ModelRunner;

struct GoldenCase {
  std::string prompt;
  std::vector<int32_t> input_ids;
  std::vector<int32_t> output_ids;
  std::vector<double> gaps;
};

std::vector<GoldenCase> ReadGolden() {
  std::ifstream file(PINGTI_SOURCE_DIR "/tests/golden/model/smollm2_greedy.json");
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
    absl::StatusOr<std::unique_ptr<Backend>> backend = MakeCpuBackend({});
    ASSERT_TRUE(backend.ok()) << backend.status();
    backend_ = *std::move(backend);
  }

  void Load(WeightFormat format) {
    LoadOptions options;
    options.format = format;
    absl::StatusOr<std::unique_ptr<Model>> model = LoadModel(*checkpoint_, backend_.get(), options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
};

TEST_F(GoldenTest, GreedyF32AnswersEqualTransformersButForNearTies) {
  constexpr double kNearTie = 1e-3;
  ASSERT_NO_FATAL_FAILURE(Load(WeightFormat::kF32));
  const std::vector<GoldenCase> cases = ReadGolden();
  ASSERT_EQ(cases.size(), 20u);
  int equal = 0;
  for (const GoldenCase& golden : cases) {
    ModelRunner runner(model_.get(), {});
    const auto output =
        runner.Greedy(0, golden.input_ids, static_cast<int32_t>(golden.output_ids.size()));
    ASSERT_TRUE(output.ok()) << output.status();
    size_t i = 0;
    while (i < output->size() && (*output)[i] == golden.output_ids[i]) ++i;
    if (i == output->size()) {
      ++equal;
      continue;
    }
    std::cout << "'" << golden.prompt << "' differs from token " << i << ": got " << (*output)[i]
              << ", transformers " << golden.output_ids[i] << ", top two logits within "
              << golden.gaps[i] << "\n";
    EXPECT_LT(golden.gaps[i], kNearTie) << golden.prompt << ", token " << i;
  }
  std::cout << equal << " of " << cases.size() << " answers are equal\n";
}

TEST_F(GoldenTest, BatchedAnswersEqualSingleAnswersBitForBit) {
  ASSERT_NO_FATAL_FAILURE(Load(WeightFormat::kStored));
  const std::vector<GoldenCase> cases = ReadGolden();
  std::vector<std::vector<int32_t>> prompts;
  for (const GoldenCase& golden : cases) prompts.push_back(golden.input_ids);
  testing::RunnerOptions options;
  options.max_batch_tokens = 2048;
  ModelRunner together(model_.get(), options);
  const auto batched = together.GreedyBatch(prompts, 24);
  ASSERT_TRUE(batched.ok()) << batched.status();
  for (size_t s = 0; s < prompts.size(); ++s) {
    ModelRunner alone(model_.get(), options);
    const auto single = alone.Greedy(0, prompts[s], 24, /*chunk=*/7);
    ASSERT_TRUE(single.ok()) << single.status();
    EXPECT_EQ(*single, (*batched)[s]) << cases[s].prompt;
  }
}

}  // namespace
}  // namespace pingti::worker
