#include "tools/inspect_command.h"

#include <cstdlib>
#include <string>
#include <string_view>

#include "gtest/gtest.h"
#include "tests/testing/source_dir.h"
#include "tools/inspect_fit.h"
#include "worker/model/open_checkpoint.h"
#include "worker/spec/shard_spec.h"

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
        "tensor_parallel  1 to 9; equal heads with 1, 3, 9\n",
        "Q4_1  [576, 1536]  blk.0.ffn_down.weight"}) {
    EXPECT_NE(report->find(expected), std::string::npos) << expected << "\nin\n" << *report;
  }
}

TEST(InspectModel, SaysWhichExpertsALayerHas) {
  const std::string tiny = SourcePath("tests/golden/model/tiny/");
  const auto qwen = InspectModel(tiny + "qwen2_moe", {});
  ASSERT_TRUE(qwen.ok()) << qwen.status();
  EXPECT_NE(qwen->find("experts          8 of 32, 3 per token, in 1 of 2 layers; shared 40\n"),
            std::string::npos)
      << *qwen;
  const auto mixtral = InspectModel(tiny + "gguf_mixtral", {});
  ASSERT_TRUE(mixtral.ok()) << mixtral.status();
  EXPECT_NE(mixtral->find("experts          4 of 48, 2 per token, in 2 of 2 layers\n"),
            std::string::npos)
      << *mixtral;
}

TEST(InspectModel, SaysHowManyRanksMayHoldWholeExperts) {
  const std::string tiny = SourcePath("tests/golden/model/tiny/");
  const auto report = InspectModel(tiny + "mixtral", {.fit = true, .expert_parallel = true});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_NE(report->find("  whole experts  1 to 4; equal heads and experts with 1, 2, 4\n"),
            std::string::npos)
      << *report;
  const auto dense = InspectModel(tiny + "qwen3", {});
  ASSERT_TRUE(dense.ok()) << dense.status();
  EXPECT_EQ(dense->find("whole experts"), std::string::npos) << *dense;
  const absl::Status refused = InspectModel(tiny + "qwen3", {.expert_parallel = true}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
}

TEST(InspectModel, SaysWhatLatentAttentionKeeps) {
  const auto report = InspectModel(SourcePath("tests/golden/model/tiny/deepseek_v3"), {});
  ASSERT_TRUE(report.ok()) << report.status();
  for (const char* expected :
       {"attention        4 query heads of 12 + 8, values of 20; latent of 24 + 8 per token, of "
        "queries 16\n",
        "KV cache         128 B a token in bf16, on a GPU 84 B in int8\n",
        "tensor_parallel  1 to 4;"}) {
    EXPECT_NE(report->find(expected), std::string::npos) << expected << "\nin\n" << *report;
  }
}

TEST(InspectModel, DescribesAnAdapter) {
  const auto report = InspectModel(SourcePath("tests/golden/model/tiny_adapters/llama3_all"), {});
  ASSERT_TRUE(report.ok()) << report.status();
  for (const char* expected : {"LoRA, rank 8 at most\n", "base model       llama3\n",
                               "modules          14\n", "2, rank 3 at most\n"}) {
    EXPECT_NE(report->find(expected), std::string::npos) << expected << "\nin\n" << *report;
  }
}

TEST(InspectModel, SaysHowACheckpointIsPacked) {
  const std::string tiny = SourcePath("tests/golden/model/tiny/");
  const auto gptq = InspectModel(tiny + "qwen2_gptq4", {});
  ASSERT_TRUE(gptq.ok()) << gptq.status();
  EXPECT_NE(gptq->find("quantization     gptq, 4 bits, groups of 32\n"), std::string::npos)
      << *gptq;
  const auto mixed = InspectModel(tiny + "llama_auto_round", {});
  ASSERT_TRUE(mixed.ok()) << mixed.status();
  EXPECT_NE(
      mixed->find("quantization     auto-round, 4 bits, groups of 32; some modules have others"),
      std::string::npos)
      << *mixed;
  const auto channel = InspectModel(tiny + "qwen2_packed4_zeros", {});
  ASSERT_TRUE(channel.ok()) << channel.status();
  EXPECT_NE(channel->find("quantization     compressed-tensors, 4 bits, a group a row\n"),
            std::string::npos)
      << *channel;
}

TEST(InspectModel, DescribesAModelOfAnotherForm) {
  const std::string tiny = SourcePath("tests/golden/model/tiny/");
  const auto report = InspectModel(tiny + "falcon_rw", {});
  ASSERT_TRUE(report.ok()) << report.status();
  for (const char* expected :
       {"architecture     falcon\n", "6 query heads, 6 key-value heads of 16",
        "rope             none\n"}) {
    EXPECT_NE(report->find(expected), std::string::npos) << expected << "\nin\n" << *report;
  }
}

TEST(InspectModel, SaysWhatNoRouterCouldUse) {
  const auto report = InspectModel(SourcePath("tests/golden/model/tiny/llama3"), {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_NE(report->find("unusable: no tokenizer"), std::string::npos) << *report;
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
worker::DecoderSpec Shape72B() {
  const auto spec = worker::ParseHfConfig(
      R"({"architectures":["Qwen2ForCausalLM"],"num_hidden_layers":80,"hidden_size":8192,)"
      R"("intermediate_size":29568,"num_attention_heads":64,"num_key_value_heads":8,)"
      R"("vocab_size":152064,"max_position_embeddings":32768})");
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *spec;
}

const Card& CardNamed(std::string_view name) {
  for (const Card& card : KnownCards()) {
    if (card.name == name) return card;
  }
  ADD_FAILURE() << "no card " << name;
  return KnownCards().front();
}

TEST(InspectFit, CountsTheWeightsOfA72BModel) {
  const worker::DecoderSpec spec = Shape72B();
  // 70.2 billion in the blocks' matrices, twice 1.25 billion in the vocabulary's.
  EXPECT_NEAR(static_cast<double>(DeviceWeightBytes(spec, WeightBits::k16)), 145.4e9, 0.1e9);
  EXPECT_NEAR(static_cast<double>(DeviceWeightBytes(spec, WeightBits::k8)), 72.7e9, 0.1e9);
  EXPECT_EQ(KvBytesPerToken(spec), 327680);
  // 80 layers of 2 x 8 heads of 128 + 4, and one layer of 2 x 8 x 128 in bf16.
  EXPECT_EQ(Int8KvBytesPerToken(spec), 168960 + 4096);
}

TEST(InspectFit, FitsA72BModelWhereThereIsRoom) {
  const worker::DecoderSpec spec = Shape72B();
  EXPECT_EQ(SequencesThatFit(spec, WeightBits::k16, CardNamed("H200"), 0.95, 2048), 0);
  EXPECT_GT(SequencesThatFit(spec, WeightBits::k8, CardNamed("H100 80 GB"), 0.95, 2048), 1);
  EXPECT_LT(SequencesThatFit(spec, WeightBits::k8, CardNamed("H100 80 GB"), 0.95, 2048), 16);
  EXPECT_GT(SequencesThatFit(spec, WeightBits::k8, CardNamed("H200"), 0.95, 2048), 50);
  EXPECT_GT(SequencesThatFit(spec, WeightBits::k4, CardNamed("H100 80 GB"), 0.95, 2048), 20);
  EXPECT_EQ(SequencesThatFit(spec, WeightBits::k4, CardNamed("A100 40 GB"), 0.95, 2048), 0);
}

TEST(InspectFit, MemoryThatFitsIsNeverMoreThanTheCardHas) {
  const worker::DecoderSpec spec = Shape72B();
  for (const Card& card : KnownCards()) {
    for (const WeightBits bits : {WeightBits::k16, WeightBits::k8, WeightBits::k4}) {
      for (const int64_t context : {1, 4096, 32768}) {
        const int64_t sequences = SequencesThatFit(spec, bits, card, 0.98, context);
        if (sequences == 0) continue;
        const int64_t taken = DeviceWeightBytes(spec, bits) + kReservedBytes +
                              sequences * context * KvBytesPerToken(spec);
        EXPECT_LE(taken, card.memory_mib << 20) << card.name;
      }
    }
  }
}

RankSpecs RanksOf(const worker::DecoderSpec& whole, int size) {
  const std::vector<int64_t> blocks(whole.layers.size(), 1);
  RankSpecs ranks;
  for (int rank = 0; rank < size; ++rank) {
    ranks.push_back(*worker::ShardSpec(whole, rank, size, blocks));
  }
  return ranks;
}

TEST(InspectFit, RanksHoldTheWeightsOnceButForNorms) {
  const worker::DecoderSpec whole = Shape72B();
  const int64_t one = DeviceWeightBytes(whole, WeightBits::k16);
  for (const int size : {2, 4, 8}) {
    int64_t bytes = 0;
    int64_t kv = 0;
    for (const worker::DecoderSpec& rank : RanksOf(whole, size)) {
      bytes += DeviceWeightBytes(rank, WeightBits::k16);
      kv += KvBytesPerToken(rank);
    }
    EXPECT_GE(bytes, one);
    EXPECT_NEAR(static_cast<double>(bytes), static_cast<double>(one),
                1e-3 * static_cast<double>(one));
    EXPECT_EQ(kv, KvBytesPerToken(whole));
  }
}

TEST(InspectFit, TakesTheFirstNumberOfCardsThatHoldsTheModel) {
  const worker::DecoderSpec whole = Shape72B();
  const std::vector<RankSpecs> groups = {{whole}, RanksOf(whole, 2), RanksOf(whole, 4)};
  const std::string table = FitTable(groups, 0.95, {2048, 32768});
  for (const char* expected :
       {"H200        bf16       2   73.0 GB", "H200        int8       1   72.8 GB",
        "A100 40 GB  bf16       4   36.5 GB", "A100 40 GB  4-bit      2"}) {
    EXPECT_NE(table.find(expected), std::string::npos) << expected << "\nin\n" << table;
  }
  const Card& h200 = CardNamed("H200");
  EXPECT_EQ(SequencesThatFit(groups[0], WeightBits::k16, h200, 0.95, 2048), 0);
  EXPECT_GT(SequencesThatFit(groups[1], WeightBits::k16, h200, 0.95, 2048), 100);
}

TEST(InspectModel, TabulatesWhatFitsWithoutWeights) {
  const std::string path = SourcePath("tests/golden/model/tiny/qwen2");
  const auto report =
      InspectModel(path, {.fit = true, .contexts = {128, 256}, .shapes_only = true});
  ASSERT_TRUE(report.ok()) << report.status();
  for (const char* expected :
       {"card        format cards   weights      128      256\n", "H100 80 GB  int8       1",
        "format           random", "tensor_parallel  1 to 4; equal heads with 1, 2, 4\n"}) {
    EXPECT_NE(report->find(expected), std::string::npos) << expected << "\nin\n" << *report;
  }
}

}  // namespace
}  // namespace pingti::tools
