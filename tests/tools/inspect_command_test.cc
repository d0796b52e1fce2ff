#include "tools/inspect_command.h"

#include <cstdlib>
#include <string>
#include <string_view>

#include "gtest/gtest.h"
#include "tests/testing/source_dir.h"
#include "tools/inspect_fit.h"

namespace pingti::tools {
namespace {

TEST(InspectModel, DescribesTheDefaultModel) {
  const char* path = std::getenv("PINGTI_TEST_MODEL");
  if (path == nullptr) GTEST_SKIP() << "needs a model: make test sets PINGTI_TEST_MODEL";
  const auto report = InspectModel(path, {.list_tensors = true});
  ASSERT_TRUE(report.ok()) << report.status();
  for (const char* expected :
       {"architecture     llama\n", "parameters       134.5 million\n", "layers           30\n",
        "9 query heads, 3 key-value heads of 64", "context          8192 tokens",
        "gpt2 (smollm), 49152 tokens", "22.5 KiB a token in bf16",
        "Q4_1  [576, 1536]  model.layers.0.mlp.down_proj.weight"}) {
    EXPECT_NE(report->find(expected), std::string::npos) << expected << "\nin\n" << *report;
  }
}

TEST(InspectModel, SaysHowACheckpointIsPacked) {
  const std::string tiny = SourcePath("tests/golden/model/tiny/");
  const auto gptq = InspectModel(tiny + "qwen2_gptq4", {});
  ASSERT_TRUE(gptq.ok()) << gptq.status();
  EXPECT_NE(gptq->find("quantization     gptq, 4 bits, groups of 32\n"), std::string::npos)
      << *gptq;
  const auto channel = InspectModel(tiny + "qwen2_packed4_zeros", {});
  ASSERT_TRUE(channel.ok()) << channel.status();
  EXPECT_NE(channel->find("quantization     compressed-tensors, 4 bits, a group a row\n"),
            std::string::npos)
      << *channel;
}

TEST(InspectModel, NamesAFileThatIsNotThere) {
  const auto report = InspectModel("/nonexistent/model.gguf", {});
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find("/nonexistent/model.gguf"), absl::string_view::npos);
}

TEST(InspectModel, RefusesAFileThatIsNoModel) {
  const std::string path = SourcePath("LICENSE");
  const auto report = InspectModel(path, {});
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find(path), absl::string_view::npos);
}

// A 72B shape: 80 layers of 8192, 64 query and 8 key-value heads of 128, MLP 29568.
worker::ModelConfig Shape72B() {
  worker::ModelConfig config;
  config.num_layers = 80;
  config.hidden_size = 8192;
  config.intermediate_size = 29568;
  config.num_heads = 64;
  config.num_kv_heads = 8;
  config.head_dim = 128;
  config.vocab_size = 152064;
  config.max_context = 32768;
  config.qkv_bias = true;
  return config;
}

const Card& CardNamed(std::string_view name) {
  for (const Card& card : KnownCards()) {
    if (card.name == name) return card;
  }
  ADD_FAILURE() << "no card " << name;
  return KnownCards().front();
}

TEST(InspectFit, CountsTheWeightsOfA72BModel) {
  const worker::ModelConfig config = Shape72B();
  // 70.2 billion in the blocks' matrices, twice 1.25 billion in the vocabulary's.
  EXPECT_NEAR(static_cast<double>(DeviceWeightBytes(config, WeightBits::k16)), 145.4e9, 0.1e9);
  EXPECT_NEAR(static_cast<double>(DeviceWeightBytes(config, WeightBits::k8)), 72.7e9, 0.1e9);
  EXPECT_EQ(KvBytesPerToken(config), 327680);
}

TEST(InspectFit, FitsA72BModelWhereThereIsRoom) {
  const worker::ModelConfig config = Shape72B();
  EXPECT_EQ(SequencesThatFit(config, WeightBits::k16, CardNamed("H200"), 0.95, 2048), 0);
  EXPECT_GT(SequencesThatFit(config, WeightBits::k8, CardNamed("H100 80 GB"), 0.95, 2048), 1);
  EXPECT_LT(SequencesThatFit(config, WeightBits::k8, CardNamed("H100 80 GB"), 0.95, 2048), 16);
  EXPECT_GT(SequencesThatFit(config, WeightBits::k8, CardNamed("H200"), 0.95, 2048), 50);
  EXPECT_GT(SequencesThatFit(config, WeightBits::k4, CardNamed("H100 80 GB"), 0.95, 2048), 20);
  EXPECT_EQ(SequencesThatFit(config, WeightBits::k4, CardNamed("A100 40 GB"), 0.95, 2048), 0);
}

TEST(InspectFit, MemoryThatFitsIsNeverMoreThanTheCardHas) {
  const worker::ModelConfig config = Shape72B();
  for (const Card& card : KnownCards()) {
    for (const WeightBits bits : {WeightBits::k16, WeightBits::k8, WeightBits::k4}) {
      for (const int64_t context : {1, 4096, 32768}) {
        const int64_t sequences = SequencesThatFit(config, bits, card, 0.98, context);
        if (sequences == 0) continue;
        const int64_t taken = DeviceWeightBytes(config, bits) + kReservedBytes +
                              sequences * context * KvBytesPerToken(config);
        EXPECT_LE(taken, card.memory_mib << 20) << card.name;
      }
    }
  }
}

TEST(InspectModel, TabulatesWhatFitsWithoutWeights) {
  const std::string path = SourcePath("tests/golden/model/tiny/qwen2");
  const auto report =
      InspectModel(path, {.fit = true, .contexts = {128, 256}, .shapes_only = true});
  ASSERT_TRUE(report.ok()) << report.status();
  for (const char* expected : {"card        format   weights      128      256\n",
                               "H100 80 GB  int8", "format           random"}) {
    EXPECT_NE(report->find(expected), std::string::npos) << expected << "\nin\n" << *report;
  }
}

}  // namespace
}  // namespace pingti::tools
