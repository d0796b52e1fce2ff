// What config.json files of the families become, and that what is not served is refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "worker/model/open_checkpoint.h"
#include "worker/spec/decoder_spec.h"

namespace pingti::worker {
namespace {

using ::testing::HasSubstr;

// A config of `architecture` with `more` fields, which begin with a comma.
std::string Config(const std::string& architecture, const std::string& more = "") {
  return R"({"architectures":[")" + architecture +
         R"("],"hidden_size":64,"intermediate_size":128,"num_hidden_layers":4,)"
         R"("num_attention_heads":4,"vocab_size":100,"max_position_embeddings":512)" +
         more + "}";
}

std::vector<int64_t> Windows(const DecoderSpec& spec) {
  std::vector<int64_t> windows;
  for (const LayerSpec& layer : spec.layers) windows.push_back(layer.attention.window);
  return windows;
}

std::string ErrorOf(const std::string& json) {
  return std::string(ParseHfConfig(json).status().message());
}

TEST(FamiliesTest, FamiliesDifferByOptionsOnly) {
  const auto llama = ParseHfConfig(Config("LlamaForCausalLM"));
  ASSERT_TRUE(llama.ok()) << llama.status();
  EXPECT_EQ(llama->layers[0].attention.head_dim, 16);
  EXPECT_EQ(llama->layers[0].attention.num_kv_heads, 4);
  EXPECT_FALSE(llama->layers[0].attention.qkv_bias);
  EXPECT_TRUE(ParseHfConfig(Config("Qwen2ForCausalLM"))->layers[0].attention.qkv_bias);
  EXPECT_FALSE(ParseHfConfig(Config("Qwen2ForCausalLM"))->layers[0].attention.out_bias);
  EXPECT_TRUE(ParseHfConfig(Config("Qwen3ForCausalLM"))->layers[0].attention.q_norm.has_value());
  const auto mistral = ParseHfConfig(Config("MistralForCausalLM", R"(,"sliding_window":32)"));
  EXPECT_EQ(Windows(*mistral), (std::vector<int64_t>{32, 32, 32, 32}));
}

TEST(FamiliesTest, MiMoIsQwen2WithModules) {
  const auto without = ParseHfConfig(Config("MiMoForCausalLM"));
  ASSERT_TRUE(without.ok()) << without.status();
  EXPECT_TRUE(without->layers[3].attention.qkv_bias);
  EXPECT_FALSE(without->mtp.has_value());
  const auto with = ParseHfConfig(Config("MiMoForCausalLM", R"(,"num_nextn_predict_layers":1)"));
  ASSERT_TRUE(with.ok()) << with.status();
  ASSERT_TRUE(with->mtp.has_value());
  EXPECT_EQ(with->mtp->num_modules, 1);
  EXPECT_EQ(with->mtp->projection, "model.mtp_layers.0.input_proj");
  EXPECT_EQ(with->mtp->layer.mlp.down, "model.mtp_layers.0.mlp.down_proj");
  EXPECT_TRUE(with->mtp->layer.attention.qkv_bias);
  EXPECT_THAT(ErrorOf(Config("MiMoForCausalLM", R"(,"num_nextn_predict_layers":-1)")),
              HasSubstr("num_nextn_predict_layers"));
}

TEST(FamiliesTest, QwenUsesItsWindowOnlyWhereItSaysSo) {
  EXPECT_EQ(Windows(*ParseHfConfig(Config("Qwen2ForCausalLM", R"(,"sliding_window":32)"))),
            (std::vector<int64_t>{0, 0, 0, 0}));
  EXPECT_EQ(Windows(*ParseHfConfig(Config("Qwen2ForCausalLM",
                                          R"(,"sliding_window":32,)"
                                          R"("use_sliding_window":true,"max_window_layers":3)"))),
            (std::vector<int64_t>{0, 0, 0, 32}));
}

TEST(FamiliesTest, ContextGrowsWithTheScalingThatIsMeantToGrowIt) {
  const auto context = [](const std::string& scaling) {
    const auto config = ParseHfConfig(Config("LlamaForCausalLM", ",\"rope_scaling\":" + scaling));
    EXPECT_TRUE(config.ok()) << config.status();
    return config->max_context;
  };
  EXPECT_EQ(context(R"({"type":"linear","factor":2.0})"), 1024);
  EXPECT_EQ(context(R"({"type":"dynamic","factor":4.0})"), 2048);
  EXPECT_EQ(context(R"({"type":"yarn","factor":4.0,"original_max_position_embeddings":256})"),
            1024);
  EXPECT_EQ(context(R"({"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,)"
                    R"("high_freq_factor":4.0,"original_max_position_embeddings":128})"),
            512);
}

TEST(FamiliesTest, RotaryScalingsNameWhatTheyLack) {
  const auto error = [](const std::string& scaling) {
    return ErrorOf(Config("LlamaForCausalLM", ",\"rope_scaling\":" + scaling));
  };
  EXPECT_THAT(error(R"({"rope_type":"llama3","factor":8})"),
              HasSubstr("'rope_scaling.original_max_position_embeddings' is missing"));
  EXPECT_THAT(
      error(R"({"rope_type":"llama3","factor":8,"original_max_position_embeddings":128})"),
      HasSubstr("'rope_scaling.low_freq_factor' is missing; rotary scaling 'llama3' needs it"));
  EXPECT_THAT(error(R"({"rope_type":"longrope","short_factor":[1,1,1,1,1,1,1,1]})"),
              HasSubstr("'rope_scaling.long_factor' is missing"));
  EXPECT_THAT(error(R"({"rope_type":"longrope","short_factor":[1,2]})"),
              HasSubstr("'rope_scaling.short_factor' is not an array of 8 positive numbers"));
  EXPECT_THAT(error(R"({"type":"ntk"})"), HasSubstr("rotary scaling 'ntk'"));
}

TEST(FamiliesTest, LongropeNeedsNoFactor) {
  const auto spec = ParseHfConfig(Config(
      "LlamaForCausalLM", R"(,"original_max_position_embeddings":128,"rope_scaling":{"type":"su",)"
                          R"("short_factor":[1,1,1,1,1,1,1,1],"long_factor":[1,2,3,4,5,6,7,8]})"));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->rope.scaling, RopeScaling::kLongRope);
  EXPECT_EQ(spec->rope.factor, 4.0);
  EXPECT_EQ(spec->max_context, 512);
}

TEST(FamiliesTest, RotaryParametersPerTypeOfLayerMustBeTheSame) {
  const auto parse = [](const std::string& parameters, const std::string& more = "") {
    return ParseHfConfig(Config("Qwen2ForCausalLM", ",\"rope_parameters\":" + parameters + more));
  };
  const auto same = parse(R"({"full_attention":{"rope_type":"default","rope_theta":500000.0},)"
                          R"("sliding_attention":{"rope_type":"default","rope_theta":500000.0}})");
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(same->rope.theta, 500000.0);
  const std::string differ = R"({"full_attention":{"rope_type":"default","rope_theta":500000.0},)"
                             R"("sliding_attention":{"rope_type":"default","rope_theta":1e4}})";
  EXPECT_THAT(
      std::string(parse(differ).status().message()),
      HasSubstr("'rope_parameters' differs between 'full_attention' and 'sliding_attention'"));
  const auto one_used = parse(
      differ,
      R"(,"layer_types":["full_attention","full_attention","full_attention","full_attention"])");
  ASSERT_TRUE(one_used.ok()) << one_used.status();
  EXPECT_EQ(one_used->rope.theta, 500000.0);
}

TEST(FamiliesTest, TextOfAMultimodalRotationIsRotatedAsUsual) {
  const auto spec = ParseHfConfig(
      Config("Qwen2ForCausalLM",
             R"(,"rope_theta":1e6,"rope_scaling":{"type":"mrope","mrope_section":[2,3,3]})"));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->rope.scaling, RopeScaling::kNone);
  EXPECT_EQ(spec->rope.theta, 1e6);
}

TEST(FamiliesTest, ExpertsStandWhereTheConfigurationSaysSo) {
  const std::string experts =
      R"(,"num_experts":8,"num_experts_per_tok":2,"moe_intermediate_size":16)";
  const auto layers = [&](const std::string& more) {
    std::vector<bool> with;
    const auto spec = ParseHfConfig(Config("Qwen3MoeForCausalLM", experts + more));
    EXPECT_TRUE(spec.ok()) << spec.status();
    for (const LayerSpec& layer : spec->layers) with.push_back(layer.experts.has_value());
    return with;
  };
  const size_t count = layers("").size();
  std::vector<bool> all(count, true);
  EXPECT_EQ(layers(""), all);
  all[0] = false;
  EXPECT_EQ(layers(R"(,"mlp_only_layers":[0])"), all);
  EXPECT_EQ(layers(R"(,"decoder_sparse_step":100)"), std::vector<bool>(count, false));
  EXPECT_THAT(ErrorOf(Config("Qwen3MoeForCausalLM", experts + R"(,"mlp_only_layers":[99])")),
              HasSubstr("'mlp_only_layers' names layer 99"));
  EXPECT_THAT(
      ErrorOf(Config("MixtralForCausalLM", R"(,"num_local_experts":4,"num_experts_per_tok":5)")),
      HasSubstr("'num_experts_per_tok' is 5; expected 1 to 4"));
  EXPECT_THAT(ErrorOf(Config("Qwen2MoeForCausalLM", R"(,"use_sliding_window":true)")),
              HasSubstr("'use_sliding_window' true"));
}

TEST(FamiliesTest, GptOssHasSinksBiasesAndAWindowInEverySecondLayer) {
  const std::string experts =
      R"(,"num_local_experts":4,"num_experts_per_tok":2,"sliding_window":128)";
  const auto spec = ParseHfConfig(Config("GptOssForCausalLM", experts));
  ASSERT_TRUE(spec.ok()) << spec.status();
  for (size_t i = 0; i < spec->layers.size(); ++i) {
    const LayerSpec& layer = spec->layers[i];
    EXPECT_EQ(layer.attention.window, i % 2 == 0 ? 128 : 0) << "layer " << i;
    ASSERT_EQ(layer.attention.sinks.size(), 1u);
    EXPECT_EQ(layer.attention.sinks[0].rows, layer.attention.num_heads);
    EXPECT_TRUE(layer.attention.qkv_bias && layer.attention.out_bias);
    EXPECT_TRUE(layer.experts->router_bias && layer.experts->bias);
    EXPECT_EQ(layer.experts->function, ActivationFunction::kClampedSwiglu);
    // Gate and up are every second row of each expert's part of one module.
    const RowBlock& up = layer.experts->gate_up[3];
    EXPECT_EQ(up.first, 2 * layer.experts->inner + 1);
    EXPECT_EQ(up.stride, 2);
    EXPECT_EQ(up.module_rows, 8 * layer.experts->inner);
  }
  EXPECT_THAT(ErrorOf(Config("GptOssForCausalLM", experts + R"(,"swiglu_limit":5.0)")),
              HasSubstr("'swiglu_limit' 5; expected 7"));
}

TEST(FamiliesTest, RefusalsNameTheFieldAndTheValue) {
  EXPECT_THAT(ErrorOf(Config("GPT2LMHeadModel")), HasSubstr("'GPT2LMHeadModel'"));
  EXPECT_THAT(ErrorOf(Config("LlamaForCausalLM", R"(,"hidden_act":"gelu")")), HasSubstr("'gelu'"));
  EXPECT_THAT(ErrorOf(Config("LlamaForCausalLM", R"(,"partial_rotary_factor":0.5)")),
              HasSubstr("'partial_rotary_factor' 0.5"));
  EXPECT_THAT(
      ErrorOf(Config("LlamaForCausalLM", R"(,"rope_scaling":{"type":"longrope","factor":2})")),
      HasSubstr("'longrope'"));
  EXPECT_THAT(
      ErrorOf(Config("Qwen2ForCausalLM", R"(,"rope_parameters":{"partial_rotary_factor":0.75})")),
      HasSubstr("'rope_parameters.partial_rotary_factor' 0.75"));
  EXPECT_THAT(
      ErrorOf(Config("Phi3ForCausalLM", R"(,"rope_parameters":{"partial_rotary_factor":0.45})")),
      HasSubstr("'rope_parameters.partial_rotary_factor' 0.45 makes 7 of 16 dimensions rotate"));
  EXPECT_THAT(ErrorOf(Config("Phi3ForCausalLM",
                             R"(,"rope_scaling":{"type":"longrope","long_factor":[1.0]})")),
              HasSubstr("'longrope'"));
  EXPECT_THAT(ErrorOf(Config("LlamaForCausalLM", R"(,"num_key_value_heads":3)")),
              HasSubstr("not a multiple"));
  EXPECT_THAT(ErrorOf(Config("LlamaForCausalLM", R"(,"num_key_value_heads":"two")")),
              HasSubstr("'num_key_value_heads' is \"two\""));
  EXPECT_THAT(ErrorOf(R"({"architectures":["LlamaForCausalLM"]})"),
              HasSubstr("'num_hidden_layers' is missing"));
}

}  // namespace
}  // namespace pingti::worker
