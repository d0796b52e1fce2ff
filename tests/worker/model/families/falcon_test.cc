// What the configurations of the published Falcon models become, and that what is not served is
// refused by name. What the layers compute: ../tiny_checkpoints_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/worker/weights/gguf_builder.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/open_checkpoint.h"
#include "worker/spec/decoder_spec.h"

namespace pingti::worker {
namespace {

using ::testing::HasSubstr;

std::string Config(const std::string& fields) {
  return R"({"architectures":["FalconForCausalLM"],"activation":"gelu",)" + fields + "}";
}

// Fields of the models' config.json files that say what they are made of.
const std::string k7B =
    Config(R"("alibi":false,"bias":false,"hidden_size":4544,"multi_query":true,)"
           R"("new_decoder_architecture":false,"num_attention_heads":71,"num_hidden_layers":32,)"
           R"("parallel_attn":true,"vocab_size":65024)");
const std::string k11B =
    Config(R"("ffn_hidden_size":16384,"hidden_size":4096,"max_position_embeddings":8192,)"
           R"("new_decoder_architecture":true,"num_attention_heads":32,"num_hidden_layers":60,)"
           R"("num_kv_heads":8,"num_ln_in_parallel_attn":1,"rope_theta":500042.0,)"
           R"("tie_word_embeddings":false,"vocab_size":65024)");
const std::string k40B = Config(
    R"("hidden_size":8192,"multi_query":true,"new_decoder_architecture":true,)"
    R"("num_attention_heads":128,"num_hidden_layers":60,"num_kv_heads":8,"vocab_size":65024)");
const std::string k180B =
    Config(R"("hidden_size":14848,"new_decoder_architecture":true,"num_attention_heads":232,)"
           R"("num_hidden_layers":80,"num_kv_heads":8,"vocab_size":65024)");
const std::string kRw1B =
    Config(R"("alibi":true,"bias":true,"hidden_size":2048,"multi_query":false,)"
           R"("num_attention_heads":32,"num_hidden_layers":24,"parallel_attn":false,)"
           R"("vocab_size":50304)");

DecoderSpec Spec(const std::string& config) {
  auto spec = ParseHfConfig(config);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *std::move(spec);
}

std::string ErrorOf(const std::string& config) {
  return std::string(ParseHfConfig(config).status().message());
}

double BillionsOfParameters(const DecoderSpec& spec) {
  int64_t values = 0;
  for (const WeightSpec& weight : DeclaredWeights(spec)) {
    if (weight.role == WeightRole::kLogits && spec.tied_embeddings()) continue;
    values += weight.num_values();
  }
  return static_cast<double>(values) * 1e-9;
}

TEST(FalconTest, PublishedModelsHaveTheirNumbersOfParameters) {
  EXPECT_NEAR(BillionsOfParameters(Spec(k7B)), 6.92, 0.01);
  EXPECT_NEAR(BillionsOfParameters(Spec(k11B)), 11.10, 0.01);
  EXPECT_NEAR(BillionsOfParameters(Spec(k40B)), 41.30, 0.01);
  EXPECT_NEAR(BillionsOfParameters(Spec(k180B)), 178.56, 0.01);
  EXPECT_NEAR(BillionsOfParameters(Spec(kRw1B)), 1.31, 0.01);
}

TEST(FalconTest, LayersHaveTheirModelsForm) {
  const LayerSpec small = Spec(k7B).layers[31];
  EXPECT_EQ(small.residual, ResidualForm::kParallel);
  EXPECT_FALSE(small.mlp_norm.has_value());
  EXPECT_EQ(small.attention_norm.module, "transformer.h.31.input_layernorm");
  EXPECT_EQ(small.attention.num_kv_heads, 1);
  EXPECT_FALSE(small.mlp.gated);
  EXPECT_EQ(small.mlp.function, ActivationFunction::kGelu);

  const LayerSpec large = Spec(k40B).layers[0];
  EXPECT_EQ(large.residual, ResidualForm::kParallel);
  EXPECT_EQ(large.attention_norm.module, "transformer.h.0.ln_attn");
  EXPECT_EQ(large.mlp_norm->module, "transformer.h.0.ln_mlp");
  EXPECT_EQ(large.attention.num_kv_heads, 8);
  EXPECT_FALSE(Spec(k11B).layers[0].mlp_norm.has_value());

  const LayerSpec refined_web = Spec(kRw1B).layers[0];
  EXPECT_EQ(refined_web.residual, ResidualForm::kSequential);
  EXPECT_EQ(refined_web.mlp_norm->module, "transformer.h.0.post_attention_layernorm");
  EXPECT_EQ(refined_web.attention.num_kv_heads, 32);
  EXPECT_TRUE(refined_web.attention.qkv_bias && refined_web.attention.out_bias);
  EXPECT_TRUE(refined_web.mlp.bias);
}

TEST(FalconTest, ContextAndPositionsAreThoseOfTheModel) {
  EXPECT_EQ(Spec(k7B).max_context, 2048);
  EXPECT_EQ(Spec(k11B).max_context, 8192);
  EXPECT_EQ(Spec(k11B).rope.theta, 500042.0);
  EXPECT_TRUE(Spec(k7B).layers[0].attention.alibi_slopes.empty());
  EXPECT_EQ(Spec(k7B).rope.scaling, RopeScaling::kNone);
  const DecoderSpec refined_web = Spec(kRw1B);
  EXPECT_EQ(refined_web.rope.scaling, RopeScaling::kNoRotation);
  const std::vector<float>& slopes = refined_web.layers[0].attention.alibi_slopes;
  ASSERT_EQ(slopes.size(), 32u);
  for (size_t h = 0; h < slopes.size(); ++h) {
    // 2^(-8 (h + 1) / 32), with the scores' scale.
    EXPECT_FLOAT_EQ(slopes[h], std::exp2(-0.25f * static_cast<float>(h + 1)) / 8.0f);
  }
}

TEST(FalconTest, RowsOfQueriesKeysAndValuesAreFoundInEveryLayout) {
  const auto firsts = [](const std::string& fields) {
    std::vector<int64_t> rows;
    WeightSpec qkv;
    qkv.parts = Spec(Config(R"("hidden_size":64,"num_attention_heads":4,"num_hidden_layers":1,)"
                            R"("vocab_size":96,)" +
                            fields))
                    .layers[0]
                    .attention.qkv;
    for (const RowBlock& block : JoinedParts(qkv)) rows.push_back(block.first);
    return rows;
  };
  // Four heads of 16: all queries, the key, the value, as they lie.
  EXPECT_EQ(firsts(R"("multi_query":true)"), (std::vector<int64_t>{0}));
  // Two groups of two queries, a key and a value.
  EXPECT_EQ(firsts(R"("new_decoder_architecture":true,"num_kv_heads":2)"),
            (std::vector<int64_t>{0, 64, 32, 96, 48, 112}));
  // Four of a query, a key and a value.
  EXPECT_EQ(firsts(R"("multi_query":false)"),
            (std::vector<int64_t>{0, 48, 96, 144, 16, 64, 112, 160, 32, 80, 128, 176}));
}

TEST(FalconTest, WhatIsNotServedIsRefusedByName) {
  const auto with = [](const std::string& fields) {
    return ErrorOf(Config(R"("hidden_size":64,"num_attention_heads":4,"num_hidden_layers":1,)"
                          R"("vocab_size":96,)" +
                          fields));
  };
  EXPECT_THAT(ErrorOf(R"({"architectures":["FalconForCausalLM"],"activation":"relu",)"
                      R"("hidden_size":64,"num_attention_heads":4,"num_hidden_layers":1,)"
                      R"("vocab_size":96})"),
              HasSubstr("'activation' 'relu'"));
  EXPECT_THAT(with(R"("num_ln_in_parallel_attn":2)"), HasSubstr("'num_ln_in_parallel_attn'"));
  EXPECT_THAT(with(R"("new_decoder_architecture":true,"parallel_attn":false)"),
              HasSubstr("'parallel_attn' false"));
  EXPECT_THAT(with(R"("new_decoder_architecture":true,"num_kv_heads":3)"),
              HasSubstr("'num_kv_heads' 3"));
  EXPECT_THAT(with(R"("apply_residual_connection_post_layernorm":true)"),
              HasSubstr("'apply_residual_connection_post_layernorm' true"));
  EXPECT_THAT(ErrorOf(Config(R"("hidden_size":60,"num_attention_heads":4,)"
                             R"("num_hidden_layers":1,"vocab_size":96)")),
              HasSubstr("'hidden_size' 60"));
}

TEST(FalconTest, AGgufFileWithRowsInAnotherOrderIsRefused) {
  testing::GgufBuilder file;
  file.AddString("general.architecture", "falcon");
  EXPECT_THAT(std::string(ParseGgufCheckpoint(file.Build()).status().message()),
              HasSubstr("falcon.tensor_data_layout ''"));
  file.AddString("falcon.tensor_data_layout", "reference");
  EXPECT_THAT(std::string(ParseGgufCheckpoint(file.Build()).status().message()),
              HasSubstr("falcon.tensor_data_layout 'reference'"));
}

}  // namespace
}  // namespace pingti::worker
