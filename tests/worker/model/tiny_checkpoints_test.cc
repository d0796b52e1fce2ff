// Tiny random checkpoints of every family and format against transformers in float32 (fixtures and
// scripts in tests/golden/model). Log-probabilities within 1e-4, 64 greedy tokens equal; lower
// precisions by the bounds stated here.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <fstream>
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

struct Expected {
  std::vector<int32_t> prompt;
  std::vector<float> logprobs;
  std::vector<int32_t> greedy;
};

Expected ReadExpected(const std::string& directory) {
  std::ifstream file(directory + "/expected.json");
  std::stringstream text;
  text << file.rdbuf();
  const boost::json::value root = boost::json::parse(text.str());
  return {boost::json::value_to<std::vector<int32_t>>(root.at("prompt")),
          boost::json::value_to<std::vector<float>>(root.at("logprobs")),
          boost::json::value_to<std::vector<int32_t>>(root.at("greedy"))};
}

// KL(expected || got), in nats.
double Divergence(const std::vector<float>& expected, const std::vector<float>& got) {
  double sum = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    sum += std::exp(static_cast<double>(expected[i])) * static_cast<double>(expected[i] - got[i]);
  }
  return sum;
}

// KL(transformers in f32 || pingti) after the prompt, in nats, by weight format.
struct Case {
  const char* directory;
  double bf16;
  double int8;
  double stored;
};

void PrintTo(const Case& tested, std::ostream* out) { *out << tested.directory; }

// Above the measured divergences: other instruction sets add in another order.
constexpr double kMargin = 1.25;

class TinyCheckpointTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    directory_ = std::string(PINGTI_SOURCE_DIR "/tests/golden/model/tiny/") + GetParam().directory;
    expected_ = ReadExpected(directory_);
    auto checkpoint = OpenCheckpoint(directory_);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
  }

  void Load(WeightFormat format, const std::string& kernels) {
    auto backend = MakeCpuBackend({.num_threads = 2, .kernels = kernels});
    ASSERT_TRUE(backend.ok()) << backend.status();
    model_.reset();
    backend_ = *std::move(backend);
    LoadOptions options;
    options.format = format;
    auto model = LoadModel(*checkpoint_, backend_.get(), options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  std::vector<float> PromptLogprobs() {
    ModelRunner runner(model_.get(), {});
    EXPECT_TRUE(runner.Step({expected_.prompt}).ok());
    return *runner.AllLogprobs(0);
  }

  std::string directory_;
  Expected expected_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
};

TEST_P(TinyCheckpointTest, F32LogprobsAndGreedyTokensEqualTransformers) {
  for (const char* kernels : {"portable", ""}) {
    ASSERT_NO_FATAL_FAILURE(Load(WeightFormat::kF32, kernels));
    const std::vector<float> logprobs = PromptLogprobs();
    ASSERT_EQ(logprobs.size(), expected_.logprobs.size());
    for (size_t i = 0; i < logprobs.size(); ++i) {
      EXPECT_NEAR(logprobs[i], expected_.logprobs[i], 1e-4) << "token " << i;
    }
    ModelRunner runner(model_.get(), {});
    const auto greedy =
        runner.Greedy(0, expected_.prompt, static_cast<int32_t>(expected_.greedy.size()));
    ASSERT_TRUE(greedy.ok()) << greedy.status();
    EXPECT_EQ(*greedy, expected_.greedy);
  }
}

TEST_P(TinyCheckpointTest, ChunkSizesAndBlockSizesDoNotChangeTokens) {
  ASSERT_NO_FATAL_FAILURE(Load(WeightFormat::kF32, ""));
  for (const int32_t block_tokens : {1, 5, 16, 64}) {
    for (const int32_t chunk : {1, 2, 7, 23, 24, 512}) {
      testing::RunnerOptions options;
      options.block_tokens = block_tokens;
      ModelRunner runner(model_.get(), options);
      const auto greedy = runner.Greedy(0, expected_.prompt, 24, chunk);
      ASSERT_TRUE(greedy.ok()) << greedy.status();
      EXPECT_TRUE(std::equal(greedy->begin(), greedy->end(), expected_.greedy.begin()))
          << "block_tokens " << block_tokens << ", chunk " << chunk;
    }
  }
}

TEST_P(TinyCheckpointTest, LowerPrecisionsStayWithinTheirDivergence) {
  const auto divergence = [this](WeightFormat format, const char* kernels) {
    Load(format, kernels);
    return Divergence(expected_.logprobs, PromptLogprobs());
  };
  for (const char* kernels : {"portable", ""}) {
    SCOPED_TRACE(kernels);
    EXPECT_LT(divergence(WeightFormat::kBf16, kernels), kMargin * GetParam().bf16);
    EXPECT_LT(divergence(WeightFormat::kInt8, kernels), kMargin * GetParam().int8);
    EXPECT_LT(divergence(WeightFormat::kStored, kernels), kMargin * GetParam().stored);
  }
}

// The divergences are what was measured (the largest of portable, AVX2 and AVX-512 kernels): random
// weights of this size make larger logits, and so larger differences, than a trained model's.
INSTANTIATE_TEST_SUITE_P(Families, TinyCheckpointTest,
                         ::testing::Values(Case{"llama3", 1.42e-5, 4.04e-3, 1.42e-5},
                                           Case{"llama_linear_mha", 6.46e-5, 6.23e-4, 6.46e-5},
                                           Case{"llama_dynamic", 1.37e-4, 3.33e-3, 1.37e-4},
                                           Case{"llama_mqa_bias_tied", 9.34e-5, 1.38e-2, 9.34e-5},
                                           Case{"qwen2", 4.18e-5, 7.16e-4, 4.18e-5},
                                           Case{"qwen2_yarn", 7.54e-5, 4.16e-3, 7.54e-5},
                                           Case{"qwen3", 9.49e-5, 1.38e-3, 9.49e-5},
                                           Case{"mistral_window", 7.40e-4, 2.49e-2, 7.40e-4},
                                           Case{"qwen2_int8", 5.64e-5, 1.39e-3, 1.39e-3},
                                           Case{"qwen2_gptq4", 2.18e-4, 3.60e-3, 2.13e-3},
                                           Case{"qwen2_gptq8", 4.74e-4, 2.61e-3, 2.03e-3},
                                           Case{"qwen2_awq", 2.18e-4, 3.60e-3, 2.13e-3},
                                           Case{"qwen2_packed4", 2.47e-4, 1.69e-3, 1.74e-3},
                                           Case{"qwen2_packed4_zeros", 8.38e-5, 1.33e-3, 1.29e-3},
                                           Case{"gguf_llama_k", 1.97e-4, 3.52e-3, 1.74e-3},
                                           Case{"gguf_qwen2_4bit", 2.67e-4, 2.41e-3, 1.59e-3},
                                           Case{"gguf_qwen3_16bit", 3.31e-5, 5.33e-3, 3.31e-5}),
                         [](const auto& test) { return std::string(test.param.directory); });

}  // namespace
}  // namespace pingti::worker
