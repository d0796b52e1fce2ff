// What blocks declare: that splits and shapes belong together, and that the workspace is what the
// blocks' sizes add up to.
#include "worker/model/decoder_blocks.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "worker/model/open_checkpoint.h"
#include "worker/spec/shard_spec.h"

namespace pingti::worker {
namespace {

// Published shapes: Llama 3.1 8B, Qwen2.5 72B, Qwen3 8B, Falcon 40B and QWen 7B, with few layers.
const std::vector<std::string>& Configs() {
  static const std::vector<std::string> configs = {
      R"({"architectures":["LlamaForCausalLM"],"num_hidden_layers":2,"hidden_size":4096,)"
      R"("intermediate_size":14336,"num_attention_heads":32,"num_key_value_heads":8,)"
      R"("vocab_size":128256,"max_position_embeddings":8192})",
      R"({"architectures":["Qwen2ForCausalLM"],"num_hidden_layers":2,"hidden_size":8192,)"
      R"("intermediate_size":29568,"num_attention_heads":64,"num_key_value_heads":8,)"
      R"("vocab_size":152064,"max_position_embeddings":32768})",
      R"({"architectures":["Qwen3ForCausalLM"],"num_hidden_layers":3,"hidden_size":4096,)"
      R"("intermediate_size":12288,"num_attention_heads":32,"num_key_value_heads":8,)"
      R"("head_dim":128,"vocab_size":151936,"max_position_embeddings":40960})",
      R"({"architectures":["FalconForCausalLM"],"num_hidden_layers":2,"hidden_size":8192,)"
      R"("num_attention_heads":128,"num_kv_heads":8,"new_decoder_architecture":true,)"
      R"("vocab_size":65024})",
      R"({"architectures":["QWenLMHeadModel"],"num_hidden_layers":2,"hidden_size":4096,)"
      R"("intermediate_size":22016,"num_attention_heads":32,"kv_channels":128,)"
      R"("vocab_size":151936,"seq_length":8192})"};
  return configs;
}

DecoderSpec SpecOf(const std::string& config) {
  const auto spec = ParseHfConfig(config);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *spec;
}

const WeightSpec& Of(const std::vector<WeightSpec>& weights, WeightRole role) {
  for (const WeightSpec& weight : weights) {
    if (weight.role == role) return weight;
  }
  ADD_FAILURE() << "nothing declares role " << static_cast<int>(role);
  return weights.front();
}

TEST(DecoderBlocksTest, EightRanksCanTakeEqualSharesOfEveryWeightThatIsSplit) {
  constexpr int64_t kRanks = 8;
  for (const std::string& config : Configs()) {
    for (const WeightSpec& weight : DeclaredWeights(SpecOf(config))) {
      SCOPED_TRACE(config + " " + weight.parts.front().module);
      switch (weight.split) {
        case Split::kOutput:
          for (const RowBlock& part : weight.parts) {
            EXPECT_EQ(part.rows % (kRanks * weight.split_unit), 0) << part.module;
          }
          break;
        case Split::kInput:
          EXPECT_EQ(weight.cols % (kRanks * weight.split_unit), 0);
          break;
        case Split::kVocabulary:
          EXPECT_EQ(weight.rows() % kRanks, 0);
          break;
        case Split::kWhole:
          EXPECT_TRUE(weight.is_vector());
          break;
        case Split::kExpert:
          ADD_FAILURE() << "no family here has experts";
      }
    }
  }
}

TEST(DecoderBlocksTest, RanksSharesAreSplitAsDeclared) {
  for (const std::string& config : Configs()) {
    const DecoderSpec spec = SpecOf(config);
    const std::vector<WeightSpec> whole = DeclaredWeights(spec);
    const std::vector<int64_t> blocks(spec.layers.size(), 1);
    for (const int size : {2, 3, 8, 16}) {
      std::vector<int64_t> rows(whole.size()), cols(whole.size()), biases(whole.size());
      for (int rank = 0; rank < size; ++rank) {
        const auto share = ShardSpec(spec, rank, size, blocks);
        ASSERT_TRUE(share.ok()) << share.status();
        const std::vector<WeightSpec> weights = DeclaredWeights(*share);
        ASSERT_EQ(weights.size(), whole.size());
        for (size_t i = 0; i < whole.size(); ++i) {
          EXPECT_EQ(weights[i].role, whole[i].role);
          EXPECT_EQ(weights[i].split, whole[i].split);
          EXPECT_EQ(weights[i].module_cols(), whole[i].cols);
          EXPECT_EQ(weights[i].columns.first, whole[i].split == Split::kInput ? cols[i] : 0);
          rows[i] += weights[i].rows();
          cols[i] += weights[i].cols;
          biases[i] += weights[i].bias ? 1 : 0;
        }
      }
      for (size_t i = 0; i < whole.size(); ++i) {
        SCOPED_TRACE(config + " " + whole[i].parts.front().module);
        const bool by_input = whole[i].split == Split::kInput;
        EXPECT_EQ(cols[i], whole[i].cols * (by_input ? 1 : size));
        EXPECT_EQ(biases[i], whole[i].bias ? (by_input ? 1 : size) : 0);
        if (whole[i].role == WeightRole::kQkv) {
          EXPECT_GE(rows[i], whole[i].rows());  // several ranks may hold a KV head
        } else {
          const bool once =
              whole[i].split == Split::kOutput || whole[i].split == Split::kVocabulary;
          EXPECT_EQ(rows[i], whole[i].rows() * (once ? 1 : size));
        }
      }
    }
  }
}

// A product that is split by output is read by one that is split by input, in the same units.
TEST(DecoderBlocksTest, WhatIsSplitByOutputIsReadByWhatIsSplitByInput) {
  for (const std::string& config : Configs()) {
    SCOPED_TRACE(config);
    const DecoderSpec spec = SpecOf(config);
    const std::vector<WeightSpec> weights = DeclaredLayerWeights(spec, 1);
    const WeightSpec& qkv = Of(weights, WeightRole::kQkv);
    const WeightSpec& out = Of(weights, WeightRole::kAttentionOut);
    EXPECT_EQ(qkv.split, Split::kOutput);
    EXPECT_EQ(out.split, Split::kInput);
    ASSERT_EQ(qkv.parts.size(), 3u);
    EXPECT_EQ(qkv.parts[0].rows, out.cols);
    EXPECT_EQ(qkv.split_unit, out.split_unit);
    EXPECT_EQ(qkv.cols, spec.hidden_size);
    EXPECT_EQ(out.rows(), spec.hidden_size);
    const WeightSpec& in = Of(weights, WeightRole::kMlpIn);
    const WeightSpec& down = Of(weights, WeightRole::kMlpOut);
    EXPECT_EQ(in.split, Split::kOutput);
    EXPECT_EQ(down.split, Split::kInput);
    EXPECT_EQ(in.rows(), (spec.layers[1].mlp.gated ? 2 : 1) * down.cols);
  }
}

TEST(DecoderBlocksTest, EveryLayerDeclaresModulesOfItsOwn) {
  for (const std::string& config : Configs()) {
    const DecoderSpec spec = SpecOf(config);
    const std::string of_first = DeclaredLayerWeights(spec, 0).back().parts.front().module;
    const std::string of_second = DeclaredLayerWeights(spec, 1).back().parts.front().module;
    EXPECT_NE(of_first, of_second);
    EXPECT_NE(of_first.find(".0."), std::string::npos) << of_first;
    EXPECT_NE(of_second.find(".1."), std::string::npos) << of_second;
  }
}

TEST(DecoderBlocksTest, ActivationsTakeWhatTheBlocksSizesAddUpTo) {
  for (const std::string& config : Configs()) {
    SCOPED_TRACE(config);
    const DecoderSpec spec = SpecOf(config);
    const AttentionSpec& attention = spec.layers[0].attention;
    const int64_t heads = attention.num_heads * attention.head_dim;
    const int64_t kv = attention.num_kv_heads * attention.head_dim;
    ActivationPlan plan;
    DecoderBlocks(spec).DeclareColumns(&plan);
    const MlpSpec& mlp = spec.layers[0].mlp;
    // Residual, delta, normed, gathered and a parallel block's output; q, k and v and the context;
    // gate, up and what they make.
    const bool parallel = spec.layers[0].residual == ResidualForm::kParallel;
    const int64_t row = (parallel ? 5 : 4) * spec.hidden_size + (heads + 2 * kv) + heads +
                        (mlp.gated ? 3 : 2) * mlp.inner;
    EXPECT_EQ(plan.Bytes(DType::kBf16, 256), 256 * row * 2);
  }
}

// Qwen3-30B-A3B's published shape.
constexpr char kExperts[] =
    R"({"architectures":["Qwen3MoeForCausalLM"],"num_hidden_layers":48,"hidden_size":2048,)"
    R"("intermediate_size":6144,"num_attention_heads":32,"num_key_value_heads":4,"head_dim":128,)"
    R"("vocab_size":151936,"max_position_embeddings":40960,"num_experts":128,)"
    R"("num_experts_per_tok":8,"moe_intermediate_size":768,"norm_topk_prob":true})";

TEST(DecoderBlocksTest, ExpertsCountAsWhatTheyHold) {
  int64_t values = 0;
  for (const WeightSpec& weight : DeclaredWeights(SpecOf(kExperts))) values += weight.num_values();
  EXPECT_EQ(values, 30532122624);  // of the published checkpoint
}

TEST(DecoderBlocksTest, RanksShareTheColumnsOfEveryExpert) {
  DecoderSpec spec = SpecOf(kExperts);
  spec.layers.resize(1);
  const std::vector<WeightSpec> whole = DeclaredLayerWeights(spec, 0);
  const std::vector<int64_t> blocks(1, 1);
  int64_t columns = 0;
  for (int rank = 0; rank < 4; ++rank) {
    const auto share = ShardSpec(spec, rank, 4, blocks);
    ASSERT_TRUE(share.ok()) << share.status();
    const std::vector<WeightSpec> weights = DeclaredLayerWeights(*share, 0);
    const WeightSpec& in = Of(weights, WeightRole::kExpertsIn);
    const WeightSpec& down = Of(weights, WeightRole::kExpertsOut);
    EXPECT_EQ(in.rows(), 128 * 2 * down.cols);
    EXPECT_EQ(down.rows(), Of(whole, WeightRole::kExpertsOut).rows());
    EXPECT_EQ(down.columns.first, columns);
    ASSERT_EQ(in.parts.size(), 256u);
    EXPECT_EQ(in.parts[3].module, "model.layers.0.mlp.experts.1.up_proj");
    EXPECT_EQ(in.parts[3].first, columns);
    EXPECT_EQ(Of(weights, WeightRole::kRouter).rows(), 128);
    columns += down.cols;
  }
  EXPECT_EQ(columns, 768);
}

TEST(DecoderBlocksTest, RanksHoldWholeExpertsWhereTheyAreSharedSo) {
  DecoderSpec spec = SpecOf(kExperts);
  spec.layers.resize(1);
  const std::vector<int64_t> blocks(1, 1);
  for (int rank = 0; rank < 4; ++rank) {
    const auto share = ShardSpec(spec, rank, 4, blocks, ExpertSplit::kExperts);
    ASSERT_TRUE(share.ok()) << share.status();
    const std::vector<WeightSpec> weights = DeclaredLayerWeights(*share, 0);
    const WeightSpec& in = Of(weights, WeightRole::kExpertsIn);
    const WeightSpec& down = Of(weights, WeightRole::kExpertsOut);
    EXPECT_EQ(in.split, Split::kExpert);
    EXPECT_EQ(down.split, Split::kExpert);
    EXPECT_EQ(in.experts, 32);
    EXPECT_EQ(in.rows(), 32 * 2 * 768);
    EXPECT_EQ(down.rows(), 32 * 2048);
    EXPECT_EQ(down.cols, 768);
    const std::string first = "model.layers.0.mlp.experts." + std::to_string(32 * rank);
    EXPECT_EQ(in.parts.front().module, first + ".gate_proj");
    EXPECT_EQ(down.parts.front().module, first + ".down_proj");
    EXPECT_EQ(Of(weights, WeightRole::kRouter).rows(), 128);
  }
}

TEST(DecoderBlocksTest, ExpertsStayApartWhereOneModuleHoldsThem) {
  WeightSpec weight;
  weight.parts = {{"stacked", 2, 0, 6}, {"stacked", 2, 2, 6}, {"stacked", 2, 4, 6}};
  EXPECT_EQ(JoinedParts(weight).size(), 1u);
  weight.experts = 3;
  EXPECT_EQ(JoinedParts(weight).size(), 3u);
}

TEST(DecoderBlocksTest, AFusedModuleIsReadAtOnce) {
  const DecoderSpec spec = SpecOf(Configs().back());
  const std::vector<WeightSpec> weights = DeclaredLayerWeights(spec, 0);
  const WeightSpec& qkv = Of(weights, WeightRole::kQkv);
  ASSERT_EQ(qkv.parts.size(), 3u);
  EXPECT_EQ(qkv.parts[2].module, "transformer.h.0.attn.c_attn");
  EXPECT_EQ(qkv.parts[2].first, 2 * 4096);
  const std::vector<RowBlock> joined = JoinedParts(qkv);
  ASSERT_EQ(joined.size(), 1u);
  EXPECT_EQ(joined[0].rows, 3 * 4096);
  EXPECT_EQ(joined[0].module_rows, 3 * 4096);
}

TEST(DecoderBlocksTest, PartsThatDoNotFollowEachOtherStayApart) {
  WeightSpec weight;
  weight.parts = {{"fused", 2, 0, 8}, {"fused", 2, 4, 8}, {"fused", 2, 6, 8}, {"other", 2, 0, 2}};
  const std::vector<RowBlock> joined = JoinedParts(weight);
  ASSERT_EQ(joined.size(), 3u);
  EXPECT_EQ(joined[1].first, 4);
  EXPECT_EQ(joined[1].rows, 4);
  EXPECT_EQ(joined[2].module, "other");
}

}  // namespace
}  // namespace pingti::worker
