// What an adapter's configuration may say, and what is refused by name.
#include "worker/adapters/peft_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace pingti::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

PeftConfig Parsed(const std::string& fields) {
  auto config = PeftConfig::Parse("{\"peft_type\": \"LORA\", " + fields + "}");
  EXPECT_TRUE(config.ok()) << config.status();
  return *std::move(config);
}

std::string ErrorOf(const std::string& fields) {
  const auto config = PeftConfig::Parse("{\"peft_type\": \"LORA\", \"r\": 8, " + fields + "}");
  EXPECT_FALSE(config.ok());
  return std::string(config.status().message());
}

TEST(PeftConfigTest, TheFactorIsAlphaOverRankOrOverItsRoot) {
  EXPECT_EQ(*Parsed(R"("r": 4, "lora_alpha": 10)").ScaleOf("model.layers.0.mlp.up_proj"), 2.5);
  EXPECT_EQ(*Parsed(R"("r": 4, "lora_alpha": 10, "use_rslora": true)").ScaleOf("m"), 5.0);
}

TEST(PeftConfigTest, PatternsMatchTheEndsOfNamesAndTheFirstCounts) {
  const PeftConfig config = Parsed(
      R"("r": 4, "lora_alpha": 8, "rank_pattern": {"layers\\.1\\..*": 2, "k_proj": 16},
         "alpha_pattern": {"q_proj": 32})");
  EXPECT_EQ(*config.RankOf("model.layers.0.self_attn.k_proj"), 16);
  EXPECT_EQ(*config.RankOf("model.layers.1.self_attn.k_proj"), 2);
  EXPECT_EQ(*config.RankOf("model.layers.11.self_attn.v_proj"), 4);
  EXPECT_EQ(*config.RankOf("model.layers.0.self_attn.more_k_proj"), 4);
  EXPECT_EQ(*config.ScaleOf("model.layers.0.self_attn.q_proj"), 8.0);
  EXPECT_EQ(*config.ScaleOf("model.layers.0.self_attn.k_proj"), 0.5);
}

TEST(PeftConfigTest, TargetsAreNamesOrAnExpression) {
  EXPECT_THAT(Parsed(R"("r": 4, "target_modules": ["q_proj", "v_proj"])").target_modules(),
              ElementsAre("q_proj", "v_proj"));
  EXPECT_THAT(Parsed(R"("r": 4, "target_modules": ".*_proj")").target_modules(), IsEmpty());
}

TEST(PeftConfigTest, WhatChangesTheAnswerAndIsNotSupportedIsRefusedByName) {
  EXPECT_THAT(ErrorOf(R"("use_dora": true)"), HasSubstr("'use_dora' is true"));
  EXPECT_THAT(ErrorOf(R"("modules_to_save": ["lm_head"])"), HasSubstr("'modules_to_save'"));
  EXPECT_THAT(ErrorOf(R"("bias": "all")"), HasSubstr("'bias' is \"all\": expected \"none\""));
  EXPECT_THAT(ErrorOf(R"("fan_in_fan_out": true)"), HasSubstr("'fan_in_fan_out'"));
  EXPECT_THAT(ErrorOf(R"("lora_bias": true)"), HasSubstr("'lora_bias'"));
  EXPECT_THAT(ErrorOf(R"("layer_replication": [[0, 2]])"), HasSubstr("'layer_replication'"));
  EXPECT_THAT(ErrorOf(R"("task_type": "SEQ_CLS")"), HasSubstr("'task_type'"));
  EXPECT_THAT(ErrorOf(R"("target_parameters": ["mlp.experts.down_proj", "q_proj.weight"])"),
              HasSubstr("'target_parameters' is [..., \"q_proj.weight\"]: expected names that end "
                        "in 'experts.gate_up_proj' or 'experts.down_proj'"));
  EXPECT_THAT(std::string(PeftConfig::Parse(R"({"peft_type": "IA3", "r": 4})").status().message()),
              HasSubstr("'peft_type' is \"IA3\": expected \"LORA\""));
  EXPECT_TRUE(PeftConfig::Parse(R"({"peft_type": "LORA", "r": 4, "use_dora": false,
                                    "modules_to_save": null, "layer_replication": []})")
                  .ok());
}

TEST(PeftConfigTest, ImpossibleValuesAreErrors) {
  EXPECT_FALSE(PeftConfig::Parse("[]").ok());
  EXPECT_FALSE(PeftConfig::Parse(R"({"peft_type": "LORA"})").ok());
  EXPECT_FALSE(PeftConfig::Parse(R"({"peft_type": "LORA", "r": 0})").ok());
  EXPECT_THAT(ErrorOf(R"("rank_pattern": {"q_proj": "many"})"), HasSubstr("'rank_pattern'"));
  EXPECT_THAT(ErrorOf(R"("alpha_pattern": {"(": 3})"), HasSubstr("'alpha_pattern'"));
}

}  // namespace
}  // namespace pingti::worker
