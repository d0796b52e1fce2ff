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
              HasSubstr("'n_group' 7: expected a divisor of 'n_routed_experts', 256"));
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
