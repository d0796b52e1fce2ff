// A GGUF file and a config.json that describe the same rotary scaling must give the same
// frequencies; config.json's are compared with transformers in tiny_checkpoints_test.cc.
#include "worker/model/rope_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/worker/weights/gguf_builder.h"
#include "worker/model/open_checkpoint.h"

namespace pingti::worker {
namespace {

using testing::GgufBuilder;
using ::testing::HasSubstr;

// TinyLlama's sizes: 2 heads of 16 dimensions, 64 positions.
DecoderSpec FromConfigJson(const std::string& rope) {
  const auto config = ParseHfConfig(
      R"({"architectures":["LlamaForCausalLM"],"hidden_size":32,"intermediate_size":32,)"
      R"("num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"vocab_size":4,)"
      R"("max_position_embeddings":64,"rope_scaling":)" +
      rope + "}");
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

DecoderSpec FromGguf(const GgufBuilder& builder) {
  const std::string bytes = builder.Build();
  const auto parts = ParseGgufCheckpoint(bytes);
  EXPECT_TRUE(parts.ok()) << parts.status();
  return parts->spec;
}

void ExpectSameRotation(const DecoderSpec& gguf, const DecoderSpec& json) {
  EXPECT_EQ(gguf.max_context, json.max_context);
  const RotarySpec got = MakeRotarySpec(gguf);
  const RotarySpec want = MakeRotarySpec(json);
  ASSERT_EQ(got.inv_freq.size(), want.inv_freq.size());
  for (size_t i = 0; i < want.inv_freq.size(); ++i) {
    EXPECT_NEAR(got.inv_freq[i], want.inv_freq[i], 1e-6 * want.inv_freq[i]) << i;
  }
  EXPECT_FLOAT_EQ(got.attention_factor, want.attention_factor);
}

TEST(RopeSpecTest, LinearScaling) {
  GgufBuilder builder = testing::TinyLlama();
  builder.AddString("llama.rope.scaling.type", "linear");
  builder.AddF32("llama.rope.scaling.factor", 4.0f);
  const DecoderSpec config = FromGguf(builder);
  EXPECT_EQ(config.max_context, 256);
  ExpectSameRotation(config, FromConfigJson(R"({"type":"linear","factor":4.0})"));
}

TEST(RopeSpecTest, Yarn) {
  GgufBuilder builder = testing::TinyLlama();
  builder.AddString("llama.rope.scaling.type", "yarn");
  builder.AddF32("llama.rope.scaling.factor", 4.0f);
  builder.AddU32("llama.rope.scaling.original_context_length", 32);
  const DecoderSpec config = FromGguf(builder);
  EXPECT_EQ(config.max_context, 128);
  ExpectSameRotation(
      config,
      FromConfigJson(R"({"type":"yarn","factor":4.0,"original_max_position_embeddings":32})"));
}

TEST(RopeSpecTest, YarnWithItsOwnRampAndAttentionFactor) {
  GgufBuilder builder = testing::TinyLlama();
  builder.AddString("llama.rope.scaling.type", "yarn");
  builder.AddF32("llama.rope.scaling.factor", 4.0f);
  builder.AddU32("llama.rope.scaling.original_context_length", 32);
  builder.AddF32("llama.rope.scaling.yarn_beta_fast", 16.0f);
  builder.AddF32("llama.rope.scaling.yarn_beta_slow", 2.0f);
  builder.AddF32("llama.rope.scaling.attn_factor", 0.5f);
  // 0.5 * (0.1 ln 4 + 1)
  ExpectSameRotation(FromGguf(builder),
                     FromConfigJson(R"({"type":"yarn","factor":4.0,"beta_fast":16,"beta_slow":2,)"
                                    R"("original_max_position_embeddings":32,)"
                                    R"("attention_factor":0.56931472})"));
}

TEST(RopeSpecTest, Llama3DivisorsOfTheFileEqualTheFormula) {
  // What converters write into rope_freqs.weight for factor 8, low 1, high 4, 32 positions: 1 below
  // a wavelength of 8, 8 above one of 32, and 1 / ((1 - s) / 8 + s) between.
  DecoderSpec gguf = FromConfigJson("{}");
  gguf.rope.freq_divisors = {1.0f, 3.29953895f, 8.0f, 8.0f, 8.0f, 8.0f, 8.0f, 8.0f};
  ExpectSameRotation(gguf, FromConfigJson(R"({"rope_type":"llama3","factor":8.0,)"
                                          R"("low_freq_factor":1.0,"high_freq_factor":4.0,)"
                                          R"("original_max_position_embeddings":32})"));
}

TEST(RopeSpecTest, WhatIsNotServedIsRefusedByName) {
  GgufBuilder builder = testing::TinyLlama();
  builder.AddString("llama.rope.scaling.type", "yarn");
  builder.AddF32("llama.rope.scaling.yarn_ext_factor", 0.5f);
  const std::string extrapolated = builder.Build();
  EXPECT_THAT(std::string(ParseGgufCheckpoint(extrapolated).status().message()),
              HasSubstr("rope.scaling.yarn_ext_factor 0.5; expected 1"));
  GgufBuilder longrope = testing::TinyLlama();
  longrope.AddString("llama.rope.scaling.type", "longrope");
  const std::string bytes = longrope.Build();
  EXPECT_THAT(std::string(ParseGgufCheckpoint(bytes).status().message()),
              HasSubstr("rope.scaling.type 'longrope'; expected none, linear or yarn"));
}

}  // namespace
}  // namespace pingti::worker
