// What DeepSeek's configurations become: sizes and shares of latent attention, where experts stand,
// how they are chosen, and what is refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/testing/source_dir.h"
#include "tests/worker/backend/device_under_test.h"
#include "tests/worker/model/model_runner.h"
#include "tests/worker/weights/gguf_builder.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/spec/shard_spec.h"

namespace pingti::worker {
namespace {

using ::testing::HasSubstr;

// The published configurations, as far as they say what is computed.
constexpr char kV2Lite[] =
    R"({"architectures":["DeepseekV2ForCausalLM"],"first_k_dense_replace":1,"hidden_act":"silu",)"
    R"("hidden_size":2048,"intermediate_size":10944,"kv_lora_rank":512,)"
    R"("max_position_embeddings":163840,"moe_intermediate_size":1408,"moe_layer_freq":1,)"
    R"("n_group":1,"n_routed_experts":64,"n_shared_experts":2,"norm_topk_prob":false,)"
    R"("num_attention_heads":16,"num_experts_per_tok":6,"num_hidden_layers":27,)"
    R"("num_key_value_heads":16,"q_lora_rank":null,"qk_nope_head_dim":128,"qk_rope_head_dim":64,)"
    R"("rms_norm_eps":1e-06,"rope_scaling":{"beta_fast":32,"beta_slow":1,"factor":40,)"
    R"("mscale":0.707,"mscale_all_dim":0.707,"original_max_position_embeddings":4096,)"
    R"("type":"yarn"},"rope_theta":10000,"routed_scaling_factor":1.0,"scoring_func":"softmax",)"
    R"("topk_group":1,"topk_method":"greedy","v_head_dim":128,"vocab_size":102400)";
constexpr char kV3[] =
    R"({"architectures":["DeepseekV3ForCausalLM"],"first_k_dense_replace":3,"hidden_act":"silu",)"
    R"("hidden_size":7168,"intermediate_size":18432,"kv_lora_rank":512,)"
    R"("max_position_embeddings":163840,"moe_intermediate_size":2048,"moe_layer_freq":1,)"
    R"("n_group":8,"n_routed_experts":256,"n_shared_experts":1,"norm_topk_prob":true,)"
    R"("num_attention_heads":128,"num_experts_per_tok":8,"num_hidden_layers":61,)"
    R"("num_key_value_heads":128,"num_nextn_predict_layers":1,"q_lora_rank":1536,)"
    R"("qk_nope_head_dim":128,"qk_rope_head_dim":64,"rms_norm_eps":1e-06,"rope_scaling":)"
    R"({"beta_fast":32,"beta_slow":1,"factor":40,"mscale":1.0,"mscale_all_dim":1.0,)"
    R"("original_max_position_embeddings":4096,"type":"yarn"},"rope_theta":10000,)"
    R"("routed_scaling_factor":2.5,"scoring_func":"sigmoid","topk_group":4,)"
    R"("topk_method":"noaux_tc","v_head_dim":128,"vocab_size":129280)";

DecoderSpec SpecOf(const std::string& config) {
  const auto spec = ParseHfConfig(config + "}");
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *spec;
}

// `config` with the field's value exchanged.
std::string With(std::string config, const std::string& field, const std::string& value) {
  const std::string name = "\"" + field + "\":";
  const size_t begin = config.find(name) + name.size();
  const size_t end = config.find(",\"", begin);
  return config.replace(begin, end - begin, value);
}

std::string ErrorOf(const std::string& config) {
  return std::string(ParseHfConfig(config + "}").status().message());
}

TEST(DeepseekTest, WeightsCountAsThePublishedCheckpointsHoldThem) {
  const auto values = [](const DecoderSpec& spec) {
    int64_t total = 0;
    for (const WeightSpec& weight : DeclaredWeights(spec)) total += weight.num_values();
    return total;
  };
  EXPECT_EQ(values(SpecOf(kV2Lite)), 15706484224);
  EXPECT_EQ(values(SpecOf(kV3)), 671026419200);  // without the module of the next token but one
}

TEST(DeepseekTest, TheModuleBehindTheLayersIsOneMoreLayerWithItsProjection) {
  const DecoderSpec spec = SpecOf(kV3);
  EXPECT_EQ(spec.num_layers(), 61);
  ASSERT_TRUE(spec.mtp.has_value());
  EXPECT_EQ(spec.mtp->projection, "model.layers.61.eh_proj");
  EXPECT_EQ(spec.mtp->layer.latent_attention->out, "model.layers.61.self_attn.o_proj");
  EXPECT_TRUE(spec.mtp->layer.experts.has_value());
  int64_t values = 0;
  for (const WeightSpec& weight : DeclaredHeadWeights(MtpHeadSpec(spec))) {
    values += weight.num_values();
  }
  // DeepSeek's README_WEIGHTS.md counts 11.5B in the layer.
  const int64_t projection = 2 * spec.hidden_size * spec.hidden_size;
  EXPECT_NEAR(static_cast<double>(values - projection), 11.5e9, 0.05e9);
  EXPECT_FALSE(SpecOf(With(kV3, "num_nextn_predict_layers", "0")).mtp.has_value());
}

TEST(DeepseekTest, YarnScalesScoresByTheFactorOfAllDimensions) {
  const LatentAttentionSpec lite = *SpecOf(kV2Lite).layers[5].latent_attention;
  const double mscale = 0.1 * 0.707 * std::log(40.0) + 1.0;
  EXPECT_NEAR(lite.scale, mscale * mscale / std::sqrt(192.0), 1e-12);
  EXPECT_EQ(lite.query_latent_dim, 0);
  EXPECT_FALSE(lite.query_norm.has_value());
  std::string plain = kV2Lite;
  const size_t begin = plain.find("\"rope_scaling\"");
  plain.erase(begin, plain.find("\"rope_theta\"") - begin);
  EXPECT_NEAR(SpecOf(plain).layers[5].latent_attention->scale, 1.0 / std::sqrt(192.0), 1e-12);
}

TEST(DeepseekTest, ExpertsStandBehindTheDenseLayersAndAreChosenAsEachModelDoes) {
  const DecoderSpec lite = SpecOf(kV2Lite);
  EXPECT_FALSE(lite.layers[0].experts.has_value());
  ASSERT_TRUE(lite.layers[1].experts.has_value());
  EXPECT_EQ(lite.layers[1].experts->shared->inner, 2816);
  EXPECT_TRUE(lite.layers[1].experts->correction_bias.empty());
  EXPECT_EQ(lite.layers[1].experts->routing,
            (ExpertRouting{64, 6, RouterScore::kSoftmax, false, 1.0f, 1, 1, 1}));
  const DecoderSpec v3 = SpecOf(kV3);
  EXPECT_FALSE(v3.layers[2].experts.has_value());
  EXPECT_EQ(v3.layers[3].experts->routing,
            (ExpertRouting{256, 8, RouterScore::kSigmoid, true, 2.5f, 8, 4, 2}));
  EXPECT_EQ(v3.layers[3].experts->correction_bias,
            "model.layers.3.mlp.gate.e_score_correction_bias");
  std::string limited = With(kV2Lite, "topk_method", "\"group_limited_greedy\"");
  limited = With(With(limited, "n_group", "8"), "topk_group", "3");
  EXPECT_EQ(SpecOf(limited).layers[1].experts->routing,
            (ExpertRouting{64, 6, RouterScore::kSoftmax, false, 1.0f, 8, 3, 1}));
  const DecoderSpec every_other = SpecOf(With(kV2Lite, "moe_layer_freq", "2"));
  EXPECT_FALSE(every_other.layers[1].experts.has_value());
  EXPECT_TRUE(every_other.layers[2].experts.has_value());
}

TEST(DeepseekTest, RanksShareHeadsAndEachHoldsTheLatent) {
  DecoderSpec whole = SpecOf(kV3);
  whole.layers.resize(1);
  const std::vector<int64_t> blocks(1, 1);
  int64_t heads = 0;
  for (int rank = 0; rank < 3; ++rank) {
    const auto share = ShardSpec(whole, rank, 3, blocks);
    ASSERT_TRUE(share.ok()) << share.status();
    const LatentAttentionSpec& attention = *share->layers[0].latent_attention;
    EXPECT_EQ(attention.in.size(), 2u);
    EXPECT_EQ(attention.in[0].rows, 1536);
    EXPECT_EQ(attention.in[1].rows, 576);
    ASSERT_EQ(attention.query.size(), 1u);
    EXPECT_EQ(attention.query[0].first, heads * 192);
    EXPECT_EQ(attention.query[0].rows, attention.num_heads * 192);
    EXPECT_EQ(attention.keys[0].first, heads * 256);
    EXPECT_EQ(attention.values[0].first, heads * 256 + 128);
    EXPECT_EQ(attention.values[0].rows, attention.num_heads * 128);
    EXPECT_EQ(attention.out_columns.first, heads * 128);
    for (const WeightSpec& weight : DeclaredLayerWeights(*share, 0)) {
      if (weight.heads == 0) continue;
      EXPECT_EQ(weight.heads, attention.num_heads);
      EXPECT_EQ(JoinedParts(weight).size(), static_cast<size_t>(attention.num_heads));
    }
    heads += attention.num_heads;
  }
  EXPECT_EQ(heads, 128);
  DecoderSpec lite = SpecOf(kV2Lite);
  lite.layers.resize(1);
  const auto last = ShardSpec(lite, 1, 2, blocks);
  ASSERT_TRUE(last.ok()) << last.status();
  const std::vector<RowBlock>& in = last->layers[0].latent_attention->in;
  ASSERT_EQ(in.size(), 2u);
  EXPECT_EQ(in[0].first, 8 * 192);
  EXPECT_EQ(in[0].rows, 8 * 192);
  EXPECT_EQ(in[1].rows, 576);
  EXPECT_THAT(std::string(ShardSpec(lite, 0, 17, blocks).status().message()),
              HasSubstr("the model has 16 query heads"));
}

TEST(DeepseekTest, RefusalsNameTheFieldAndTheValue) {
  EXPECT_THAT(ErrorOf(With(kV2Lite, "norm_topk_prob", "true")),
              HasSubstr("'norm_topk_prob' true; expected false"));
  EXPECT_THAT(ErrorOf(With(kV2Lite, "topk_method", "\"noaux_tc\"")),
              HasSubstr("'topk_method' 'noaux_tc'; expected greedy or group_limited_greedy"));
  EXPECT_THAT(ErrorOf(With(kV2Lite, "scoring_func", "\"sigmoid\"")),
              HasSubstr("'scoring_func' 'sigmoid'; expected softmax"));
  EXPECT_THAT(ErrorOf(With(kV3, "scoring_func", "\"softmax\"")),
              HasSubstr("'scoring_func' 'softmax'; expected sigmoid"));
  EXPECT_THAT(ErrorOf(With(kV3, "topk_method", "\"greedy\"")),
              HasSubstr("'topk_method' 'greedy'; expected noaux_tc"));
  EXPECT_THAT(ErrorOf(With(kV3, "n_group", "7")),
              HasSubstr("'n_group' 7: expected a divisor of the 256 experts"));
  EXPECT_THAT(ErrorOf(With(With(kV3, "n_group", "64"), "topk_group", "1")),
              HasSubstr("leave 4 experts in groups of 4 to choose from"));
  EXPECT_THAT(ErrorOf(With(kV3, "qk_rope_head_dim", "63")),
              HasSubstr("'qk_rope_head_dim' 63; expected an even number"));
  for (const char* field : {"attention_bias", "mlp_bias"}) {
    EXPECT_THAT(ErrorOf(std::string(kV3) + ",\"" + field + "\":true"),
                HasSubstr("'" + std::string(field) + "' true; expected false"));
  }
  EXPECT_THAT(ErrorOf(std::string(kV3) + R"(,"rope_interleave":false)"),
              HasSubstr("'rope_interleave' false; expected true"));
}

// What a GGUF file of two layers says, of which the first has no experts.
struct GgufOptions {
  uint32_t gating = 2;
  uint32_t groups = 4;
  uint32_t groups_used = 2;
  uint32_t key_length = 48;
  uint32_t predictors = 0;
  bool has_attention_factor = false;
};

std::string GgufOf(const GgufOptions& options) {
  testing::GgufBuilder file;
  file.AddString("general.architecture", "deepseek2");
  const auto add = [&file](const std::string& key, uint32_t value) {
    file.AddU32("deepseek2." + key, value);
  };
  add("block_count", 2);
  add("context_length", 256);
  add("embedding_length", 64);
  add("feed_forward_length", 96);
  add("attention.head_count", 4);
  add("attention.head_count_kv", 1);
  add("attention.key_length", 80);
  add("attention.value_length", 64);
  add("attention.key_length_mla", options.key_length);
  add("attention.value_length_mla", 24);
  add("attention.kv_lora_rank", 64);
  add("rope.dimension_count", 16);
  add("expert_count", 8);
  add("expert_used_count", 3);
  add("expert_gating_func", options.gating);
  add("expert_group_count", options.groups);
  add("expert_group_used_count", options.groups_used);
  add("nextn_predict_layers", options.predictors);
  file.AddF32("deepseek2.expert_weights_scale", 2.5f);
  file.AddString("deepseek2.rope.scaling.type", "yarn");
  file.AddF32("deepseek2.rope.scaling.factor", 4.0f);
  add("rope.scaling.original_context_length", 64);
  file.AddF32("deepseek2.rope.scaling.yarn_log_multiplier", 0.0707f);
  if (options.has_attention_factor) file.AddF32("deepseek2.rope.scaling.attn_factor", 2.0f);
  file.AddString("tokenizer.ggml.model", "gpt2");
  file.AddStrings("tokenizer.ggml.tokens", std::vector<std::string>(10, "t"));
  file.AddTensor("token_embd.weight", {64, 10}, 0, 4 * 64 * 10);
  file.AddTensor("blk.1.ffn_gate_exps.weight", {64, 32, 8}, 0, 4 * 64 * 32 * 8);
  file.AddTensor("blk.1.exp_probs_b.bias", {8}, 0, 4 * 8);
  return file.Build();
}

TEST(DeepseekTest, AGgufFileSaysTheSameInItsOwnWords) {
  const std::string bytes = GgufOf({});
  const auto parts = ParseGgufCheckpoint(bytes);
  ASSERT_TRUE(parts.ok()) << parts.status();
  const LatentAttentionSpec& attention = *parts->spec.layers[1].latent_attention;
  EXPECT_EQ(attention.nope_dim, 32);
  EXPECT_EQ(attention.rope_dim, 16);
  EXPECT_EQ(attention.value_dim, 24);
  EXPECT_EQ(attention.query_latent_dim, 0);
  EXPECT_FALSE(attention.keys_transposed);
  ASSERT_EQ(attention.keys.size(), 4u);
  EXPECT_EQ(attention.keys[3].first, 3 * 64);
  const double mscale = 0.1 * 0.707 * std::log(4.0) + 1.0;
  EXPECT_NEAR(attention.scale, mscale * mscale / std::sqrt(48.0), 1e-6);
  EXPECT_EQ(parts->spec.rope.attention_factor, 1.0);
  EXPECT_FALSE(parts->spec.layers[0].experts.has_value());
  EXPECT_EQ(parts->spec.layers[1].experts->routing,
            (ExpertRouting{8, 3, RouterScore::kSigmoid, false, 2.5f, 4, 2, 2}));
  EXPECT_EQ(parts->spec.layers[1].experts->correction_bias, "blk.1.exp_probs_b.bias");
  const std::string softmax_bytes = GgufOf({.gating = 1, .groups = 1, .groups_used = 1});
  const auto softmax = ParseGgufCheckpoint(softmax_bytes);
  ASSERT_TRUE(softmax.ok()) << softmax.status();
  EXPECT_EQ(softmax->spec.layers[1].experts->routing.score, RouterScore::kSoftmax);
}

TEST(DeepseekTest, WhatAGgufFileHasBesideIsRefusedByName) {
  const auto error = [](const GgufOptions& options) {
    return std::string(ParseGgufCheckpoint(GgufOf(options)).status().message());
  };
  EXPECT_THAT(error({.gating = 3}),
              HasSubstr("expert_gating_func 3; expected 1 (softmax) or 2 (sigmoid)"));
  EXPECT_THAT(error({.groups = 3}),
              HasSubstr("'expert_group_count' 3: expected a divisor of the 8 experts"));
  EXPECT_THAT(error({.groups_used = 1}), HasSubstr("leave 2 experts in groups of 2"));
  EXPECT_THAT(error({.key_length = 16}),
              HasSubstr("heads of 16 dimensions, of which 16 rotate, and values of 24"));
  EXPECT_THAT(error({.predictors = 1}), HasSubstr("nextn_predict_layers 1; expected 0"));
  EXPECT_THAT(error({.has_attention_factor = true}),
              HasSubstr("rope.scaling.attn_factor; expected none"));
}

class DeepseekModelTest : public ::testing::TestWithParam<const char*> {
 protected:
  void Load(WeightFormat format) {
    auto checkpoint =
        OpenCheckpoint(SourcePath("tests/golden/model/tiny/") + std::string(GetParam()));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
    device_ = testing::MakeDeviceUnderTest("");
    LoadOptions options;
    options.format = format;
    auto model = LoadModel(*checkpoint_, device_->backend(), options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<testing::DeviceUnderTest> device_;
  std::unique_ptr<Model> model_;
};

// Sequences of all lengths, whose steps hold other ones each time.
TEST_P(DeepseekModelTest, ASequencesLogprobsInABatchAreThoseItHasAlone) {
  for (const WeightFormat format : {WeightFormat::kBf16, WeightFormat::kInt8}) {
    ASSERT_NO_FATAL_FAILURE(Load(format));
    std::vector<std::vector<int32_t>> prompts;
    std::vector<std::vector<float>> alone;
    for (int32_t s = 0; s < 5; ++s) {
      std::vector<int32_t> prompt;
      for (int32_t i = 0; i < 1 + 9 * s; ++i) prompt.push_back(3 + (17 * i + 29 * s) % 90);
      testing::ModelRunner runner(model_.get(), {});
      ASSERT_TRUE(runner.Step({prompt}).ok());
      alone.push_back(*runner.AllLogprobs(0));
      prompts.push_back(std::move(prompt));
    }
    testing::ModelRunner runner(model_.get(), {});
    ASSERT_TRUE(runner.Step(prompts).ok());
    for (int32_t s = 0; s < 5; ++s) {
      EXPECT_EQ(*runner.AllLogprobs(s), alone[static_cast<size_t>(s)]) << "sequence " << s;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tiny, DeepseekModelTest,
                         ::testing::Values("deepseek_v2_lite", "deepseek_v2", "deepseek_v3"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace pingti::worker
