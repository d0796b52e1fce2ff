// A model's KV blocks in host memory: a sequence that left and came back, or went on in another
// model of the same weights, answers as if nothing had happened, bit for bit. Runs on the device
// that the program is linked for.
#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
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

using testing::ModelRunner;
using testing::RunnerOptions;

constexpr int32_t kPromptTokens = 37;  // two blocks and a part of one
constexpr int32_t kAnswerTokens = 24;

// With heads of 64, and latents of 512 + 64 as a GPU has them. The second one's layers see a
// window.
constexpr const char* kCheckpoints[] = {"llama3_d64", "mistral_window_d64", "qwen2_yarn_d64",
                                        "deepseek_v3_d576"};

struct Variant {
  WeightFormat format;
  KvFormat kv_format;
};

std::vector<Variant> Variants(testing::DeviceUnderTest* device) {
  std::vector<Variant> variants{{WeightFormat::kBf16, KvFormat::kModel}};
  if (device->is_exact()) variants.push_back({WeightFormat::kF32, KvFormat::kModel});
  if (device->has_int8_kv()) variants.push_back({WeightFormat::kBf16, KvFormat::kInt8});
  return variants;
}

// A model on a device of its own.
struct Loaded {
  Loaded(const Checkpoint& checkpoint, const Variant& variant)
      : device(testing::MakeDeviceUnderTest()) {
    LoadOptions options;
    options.format = variant.format;
    options.kv_format = variant.kv_format;
    model = *LoadModel(checkpoint, device->backend(), options);
    runner = std::make_unique<ModelRunner>(
        model.get(),
        RunnerOptions{
            .block_tokens = 16, .num_blocks = 32, .max_batch_tokens = 64, .max_batch_size = 4});
  }

  std::vector<std::byte> Export(int32_t s) {
    const std::vector<int32_t>& blocks = runner->blocks(s);
    std::vector<std::byte> bytes(blocks.size() *
                                 static_cast<size_t>(model->kv_block_layout().bytes));
    EXPECT_TRUE(model->ExportBlocks(blocks, bytes).ok());
    return bytes;
  }

  // The next tokens of sequence `s`, decoded greedily from `token` on, and the log-probabilities
  // after the last one.
  std::vector<int32_t> Continue(int32_t s, int32_t token, std::vector<float>* logprobs) {
    std::vector<std::vector<int32_t>> tokens(static_cast<size_t>(s) + 1);
    std::vector<int32_t> answer;
    for (int32_t i = 0; i < kAnswerTokens; ++i) {
      tokens.back() = {token};
      token = (*runner->Step(tokens)).back();
      answer.push_back(token);
    }
    *logprobs = *runner->AllLogprobs(0);
    return answer;
  }

  std::unique_ptr<testing::DeviceUnderTest> device;
  std::unique_ptr<Model> model;
  std::unique_ptr<ModelRunner> runner;
};

std::vector<int32_t> Prompt(int32_t vocab_size, int32_t first) {
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < kPromptTokens; ++i) prompt.push_back((first + 7 * i) % vocab_size);
  return prompt;
}

class KvBlocksTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    checkpoint_ = *OpenCheckpoint(SourcePath("tests/golden/model/tiny/") + std::string(GetParam()));
  }

  std::unique_ptr<Checkpoint> checkpoint_;
};

TEST_P(KvBlocksTest, ASequenceThatLeftAndCameBackAnswersTheSame) {
  for (const Variant& variant : Variants(testing::MakeDeviceUnderTest().get())) {
    Loaded loaded(*checkpoint_, variant);
    const std::vector<int32_t> prompt = Prompt(loaded.model->vocab_size(), 3);
    const int32_t first = (*loaded.runner->Greedy(0, prompt, 1)).front();
    const std::vector<std::byte> kept = loaded.Export(0);
    std::vector<float> expected_logprobs, logprobs;
    const std::vector<int32_t> expected = loaded.Continue(0, first, &expected_logprobs);
    // Its blocks are overwritten, and what was kept comes back into others.
    const std::vector<std::byte> other(loaded.Export(0).size(), std::byte{1});
    ASSERT_TRUE(loaded.model->ImportBlocks(loaded.runner->blocks(0), other).ok());
    loaded.runner->Adopt(1, kPromptTokens);
    ASSERT_TRUE(loaded.model->ImportBlocks(loaded.runner->blocks(1), kept).ok());
    EXPECT_EQ(loaded.Continue(1, first, &logprobs), expected);
    EXPECT_EQ(logprobs, expected_logprobs);
  }
}

TEST_P(KvBlocksTest, AnotherModelOfTheSameWeightsGoesOn) {
  for (const Variant& variant : Variants(testing::MakeDeviceUnderTest().get())) {
    Loaded from(*checkpoint_, variant);
    Loaded to(*checkpoint_, variant);
    ASSERT_EQ(from.model->kv_block_layout(), to.model->kv_block_layout());
    const std::vector<int32_t> prompt = Prompt(from.model->vocab_size(), 5);
    const int32_t first = (*from.runner->Greedy(0, prompt, 1)).front();
    const std::vector<std::byte> handed = from.Export(0);
    std::vector<float> expected_logprobs, logprobs;
    const std::vector<int32_t> expected = from.Continue(0, first, &expected_logprobs);
    // The other model is in the middle of a sequence of its own, so the blocks differ.
    ASSERT_TRUE(to.runner->Greedy(1, Prompt(to.model->vocab_size(), 11), 2).ok());
    to.runner->Adopt(0, kPromptTokens);
    ASSERT_NE(to.runner->blocks(0), from.runner->blocks(0));
    ASSERT_TRUE(to.model->ImportBlocks(to.runner->blocks(0), handed).ok());
    EXPECT_EQ(to.Continue(0, first, &logprobs), expected);
    EXPECT_EQ(logprobs, expected_logprobs);
  }
}

TEST_P(KvBlocksTest, OtherPrecisionsHaveOtherLayouts) {
  const std::vector<Variant> variants = Variants(testing::MakeDeviceUnderTest().get());
  for (size_t i = 1; i < variants.size(); ++i) {
    Loaded one(*checkpoint_, variants[0]);
    Loaded other(*checkpoint_, variants[i]);
    EXPECT_NE(one.model->kv_block_layout(), other.model->kv_block_layout());
  }
}

INSTANTIATE_TEST_SUITE_P(Families, KvBlocksTest, ::testing::ValuesIn(kCheckpoints),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace pingti::worker
