// A GGUF file and a config.json that describe the same rotary scaling must give the same
// frequencies; config.json's are compared with transformers in tiny_checkpoints_test.cc.
#include "worker/model/rope_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

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

// Frequencies and attention factors that transformers 5.23.0 computes (modeling_rope_utils, "yarn")
// for heads of 16 dimensions: ramps within the head, cut at either end or empty.
TEST(RopeSpecTest, YarnEqualsTransformers) {
  struct YarnCase {
    const char* what;
    double theta;
    int64_t original;
    double factor, beta_fast, beta_slow;
    bool truncate;
    std::optional<double> mscale, mscale_all_dim, attention_factor;
    std::vector<float> frequencies;
    float attention;
  };
  const std::vector<float> ramp = {1,           0.31622776f,  0.1f,      0.024705295f,
                                   0.00562500f, 0.001087033f, 0.000125f, 3.9528473e-05f};
  const std::vector<YarnCase> cases = {
      {"a ramp", 1e4, 2048, 8, 32, 1, true, {}, {}, {}, ramp, 1.2079442f},
      {"one that begins before the head",
       1e4,
       32,
       4,
       32,
       1,
       true,
       {},
       {},
       {},
       {1, 0.19764236f, 0.025f, 0.0079056947f, 0.0025f, 0.00079056947f, 0.00025f, 7.9056947e-05f},
       1.1386294f},
      {"one that ends behind the head",
       10,
       65536,
       4,
       32,
       1,
       true,
       {},
       {},
       {},
       {0.25f, 0.18747355f, 0.14058533f, 0.10542413f, 0.079056941f, 0.059284341f, 0.044456985f,
        0.033338036f},
       1.1386294f},
      {"one of a single dimension",
       1e4,
       8,
       4,
       32,
       1,
       true,
       {},
       {},
       {},
       {1, 0.079056941f, 0.025f, 0.0079056947f, 0.0025f, 0.00079056947f, 0.00025f, 7.9056947e-05f},
       1.1386294f},
      {"one that lies before the head",
       1e4,
       4,
       2,
       32,
       1,
       true,
       {},
       {},
       {},
       {1, 0.15811388f, 0.05f, 0.015811389f, 0.005f, 0.0015811389f, 0.0005f, 0.00015811389f},
       1.0693147f},
      {"equal ends, rounded apart",
       1e4,
       2048,
       8,
       8,
       8,
       true,
       {},
       {},
       {},
       {1, 0.31622776f, 0.1f, 0.031622779f, 0.00125f, 0.00039528473f, 0.000125f, 3.9528473e-05f},
       1.2079442f},
      {"equal ends",
       1e4,
       2048,
       8,
       20,
       20,
       false,
       {},
       {},
       {},
       {1, 0.31622776f, 0.1f, 0.0039528473f, 0.00125f, 0.00039528473f, 0.000125f, 3.9528473e-05f},
       1.2079442f},
      {"a wide ramp",
       1e4,
       2048,
       8,
       64,
       0.5,
       true,
       {},
       {},
       {},
       {1, 0.31622776f, 0.0825f, 0.020554805f, 0.00475f, 0.0009486833f, 0.000125f, 3.9528473e-05f},
       1.2079442f},
      {"ends that are not rounded",
       1e4,
       2048,
       8,
       32,
       1,
       false,
       {},
       {},
       {},
       {1, 0.31622776f, 0.1f, 0.022578098f, 0.0042331335f, 0.00041945922f, 0.000125f,
        3.9528473e-05f},
       1.2079442f},
      {"one mscale", 1e4, 2048, 8, 32, 1, true, 0.7, {}, {}, ramp, 1.2079442f},
      {"both mscales", 1e4, 2048, 8, 32, 1, true, 0.7, 0.3, {}, ramp, 1.0782935f},
      {"no scaling",
       1e4,
       2048,
       1,
       32,
       1,
       true,
       0.7,
       0.3,
       {},
       {1, 0.31622776f, 0.1f, 0.031622779f, 0.01f, 0.0031622779f, 0.001f, 0.00031622779f},
       1},
      {"an attention factor", 1e4, 2048, 8, 32, 1, true, {}, {}, 0.25, ramp, 0.25f},
  };
  for (const YarnCase& c : cases) {
    SCOPED_TRACE(c.what);
    DecoderSpec decoder = FromConfigJson("{}");
    decoder.rope.scaling = RopeScaling::kYarn;
    decoder.rope.theta = c.theta;
    decoder.rope.original_max_position = c.original;
    decoder.rope.factor = c.factor;
    decoder.rope.beta_fast = c.beta_fast;
    decoder.rope.beta_slow = c.beta_slow;
    decoder.rope.truncate = c.truncate;
    decoder.rope.mscale = c.mscale;
    decoder.rope.mscale_all_dim = c.mscale_all_dim;
    decoder.rope.attention_factor = c.attention_factor;
    const RotarySpec rotary = MakeRotarySpec(decoder);
    ASSERT_EQ(rotary.inv_freq.size(), c.frequencies.size());
    for (size_t i = 0; i < c.frequencies.size(); ++i) {
      EXPECT_NEAR(rotary.inv_freq[i], c.frequencies[i], 1e-6 * c.frequencies[i]) << i;
    }
    EXPECT_NEAR(rotary.attention_factor, c.attention, 1e-6);
  }
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
              HasSubstr("'rope_factors_short.weight' is missing; rope.scaling.type 'longrope'"));
  longrope.AddTensor("rope_factors_short.weight", {8}, 0, 32);
  const std::string half = longrope.Build();
  EXPECT_THAT(std::string(ParseGgufCheckpoint(half).status().message()),
              HasSubstr("there is only one"));
}

// Phi-3 with heads of 16 dimensions of which 12 rotate; LongRoPE over them.
DecoderSpec PartlyRotating(int64_t context) {
  const auto config = ParseHfConfig(
      R"({"architectures":["Phi3ForCausalLM"],"hidden_size":32,"intermediate_size":32,)"
      R"("num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"vocab_size":4,)"
      R"("partial_rotary_factor":0.75,"original_max_position_embeddings":64,)"
      R"("max_position_embeddings":)" +
      std::to_string(context) +
      R"(,"rope_scaling":{"type":"longrope","short_factor":[1,1.5,2,2.5,3,3.5],)"
      R"("long_factor":[2,4,8,16,32,64]}})");
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

// A head's values in the order in which its rows are loaded.
std::vector<double> AsLoaded(const DecoderSpec& spec, const std::vector<double>& head) {
  std::vector<double> loaded;
  for (const RowBlock& block : spec.layers[0].attention.qkv) {
    for (int64_t i = 0; i < block.rows && loaded.size() < head.size(); ++i) {
      loaded.push_back(head[static_cast<size_t>(block.first + i)]);
    }
  }
  return loaded;
}

// Rotates pair (i, i + half) by position * frequency.
std::vector<double> Rotated(const std::vector<double>& x, const RotarySpec& spec, double position) {
  std::vector<double> out = x;
  const size_t half = spec.inv_freq.size();
  for (size_t i = 0; i < half; ++i) {
    const bool still = static_cast<int64_t>(half - i) <= spec.still_pairs;
    const double scale = still ? 1.0 : static_cast<double>(spec.attention_factor);
    const double angle = position * static_cast<double>(spec.inv_freq[i]);
    out[i] = scale * (x[i] * std::cos(angle) - x[i + half] * std::sin(angle));
    out[i + half] = scale * (x[i + half] * std::cos(angle) + x[i] * std::sin(angle));
  }
  return out;
}

// transformers' apply_rotary_pos_emb of Phi3: the first 12 dimensions in pairs (i, i + 6).
std::vector<double> RotatedAsWritten(const std::vector<double>& x,
                                     const std::vector<double>& factors, double attention_factor,
                                     double position) {
  std::vector<double> out = x;
  for (size_t i = 0; i < 6; ++i) {
    const double angle =
        position / factors[i] * std::pow(10000.0, -2.0 * static_cast<double>(i) / 12.0);
    out[i] = attention_factor * (x[i] * std::cos(angle) - x[i + 6] * std::sin(angle));
    out[i + 6] = attention_factor * (x[i + 6] * std::cos(angle) + x[i] * std::sin(angle));
  }
  return out;
}

TEST(RopeSpecTest, LongRopeThatServesItsFirstContextHasTheFrequenciesOfThatContext) {
  DecoderSpec spec = PartlyRotating(256);
  const RotarySpec whole = MakeRotarySpec(spec);
  spec.max_context = 64;
  const RotarySpec served = MakeRotarySpec(spec);
  EXPECT_EQ(served.inv_freq, MakeRotarySpec(PartlyRotating(64)).inv_freq);
  EXPECT_NE(served.inv_freq, whole.inv_freq);
  EXPECT_EQ(served.attention_factor, whole.attention_factor);
}

TEST(RopeSpecTest, PartOfAHeadRotatesAsInPhi3) {
  for (const int64_t context : {64, 256}) {
    const DecoderSpec spec = PartlyRotating(context);
    const RotarySpec rotary = MakeRotarySpec(spec);
    ASSERT_EQ(rotary.inv_freq.size(), 8u);
    const std::vector<double> factors = context == 64 ? std::vector<double>{1, 1.5, 2, 2.5, 3, 3.5}
                                                      : std::vector<double>{2, 4, 8, 16, 32, 64};
    const double factor =
        context == 64 ? 1.0 : std::sqrt(1.0 + std::log(256.0 / 64.0) / std::log(64.0));
    std::vector<double> q, k;
    for (int i = 0; i < 16; ++i) {
      q.push_back(std::sin(1.0 + i));
      k.push_back(std::cos(2.0 * i));
    }
    const auto dot = [](const std::vector<double>& a, const std::vector<double>& b) {
      double sum = 0.0;
      for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
      return sum;
    };
    for (const double position : {0.0, 3.0, 50.0}) {
      const double got = dot(Rotated(AsLoaded(spec, q), rotary, 7.0),
                             Rotated(AsLoaded(spec, k), rotary, position));
      const double want = dot(RotatedAsWritten(q, factors, factor, 7.0),
                              RotatedAsWritten(k, factors, factor, position));
      EXPECT_NEAR(got, want, 1e-5) << context << ", " << position;
    }
  }
}

// The same model as llama.cpp's converter writes it.
TEST(RopeSpecTest, LongropeOfAGgufFileEqualsThatOfItsConfiguration) {
  GgufBuilder builder;
  builder.AddString("general.architecture", "phi3");
  builder.AddU32("phi3.block_count", 1);
  builder.AddU32("phi3.context_length", 256);
  builder.AddU32("phi3.embedding_length", 32);
  builder.AddU32("phi3.feed_forward_length", 32);
  builder.AddU32("phi3.attention.head_count", 2);
  builder.AddU32("phi3.attention.head_count_kv", 1);
  builder.AddU32("phi3.rope.dimension_count", 12);
  builder.AddU32("phi3.rope.scaling.original_context_length", 64);
  builder.AddF32("phi3.rope.scaling.attn_factor",
                 std::sqrt(1.0f + std::log(4.0f) / std::log(64.0f)));
  builder.AddTensor("rope_factors_short.weight", {6}, 0, 24);
  builder.AddTensor("rope_factors_long.weight", {6}, 0, 24);
  builder.AddTensor("token_embd.weight", {32, 4}, 8, 4 * 34);
  std::string bytes = builder.Build();
  const float factors[2][6] = {{1, 1.5, 2, 2.5, 3, 3.5}, {2, 4, 8, 16, 32, 64}};
  const size_t data = builder.BuildStructure().size();
  for (size_t i = 0; i < 2; ++i) std::memcpy(&bytes[data + 32 * i], factors[i], 24);
  const auto parts = ParseGgufCheckpoint(bytes);
  ASSERT_TRUE(parts.ok()) << parts.status();
  const DecoderSpec json = PartlyRotating(256);
  ExpectSameRotation(parts->spec, json);
  EXPECT_EQ(MakeRotarySpec(parts->spec).still_pairs, 2);
  EXPECT_EQ(parts->spec.layers[0].attention.qkv.size(), json.layers[0].attention.qkv.size());
}

TEST(RopeSpecTest, EveryRowOfAPartlyRotatingHeadIsLoadedOnce) {
  const DecoderSpec spec = PartlyRotating(64);
  std::vector<int> seen(64);
  for (const RowBlock& block : spec.layers[0].attention.qkv) {
    EXPECT_EQ(block.module_rows, 64);
    for (int64_t i = 0; i < block.rows; ++i) ++seen[static_cast<size_t>(block.first + i)];
  }
  EXPECT_EQ(seen, std::vector<int>(64, 1));
}

}  // namespace
}  // namespace pingti::worker
