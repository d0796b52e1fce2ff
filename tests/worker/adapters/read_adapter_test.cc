// Adapters that PEFT saved (tests/golden/model/make_tiny_adapters.py), and files that are not what
// they should be.
#include "worker/adapters/read_adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/testing/source_dir.h"

namespace pingti::worker {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Golden(const std::string& name) {
  return SourcePath("tests/golden/model/tiny_adapters/") + name;
}

TEST(ReadAdapterTest, ModulesHaveTheirRanksAndFactors) {
  const auto adapter = ReadAdapter("all", Golden("llama3_all"));
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_EQ((*adapter)->name, "all");
  EXPECT_EQ((*adapter)->base_model, "llama3");
  EXPECT_EQ((*adapter)->id.size(), 16u);
  EXPECT_EQ((*adapter)->modules.size(), 14u);  // seven in each of two layers
  EXPECT_EQ((*adapter)->max_rank(), 8);
  const AdapterModule& k = (*adapter)->modules.at("model.layers.1.self_attn.k_proj");
  EXPECT_EQ(k.rank(), 3);
  EXPECT_NEAR(k.scale, 9.0 / std::sqrt(3.0), 1e-9);
  EXPECT_EQ(k.a.shape, (std::vector<int64_t>{3, 32}));
  EXPECT_EQ(k.b.shape, (std::vector<int64_t>{32, 3}));
}

TEST(ReadAdapterTest, TheIdIsOfNameAndContents) {
  const std::string id = (*ReadAdapter("a", Golden("llama3_qv")))->id;
  EXPECT_EQ((*ReadAdapter("a", Golden("llama3_qv")))->id, id);
  EXPECT_NE((*ReadAdapter("b", Golden("llama3_qv")))->id, id);
  EXPECT_NE((*ReadAdapter("a", Golden("llama3_mlp")))->id, id);
}

class BadAdapterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / ("pingti_adapter_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    Write("adapter_config.json", R"({"peft_type": "LORA", "r": 2, "target_modules": ["x"]})");
  }
  void TearDown() override { fs::remove_all(folder_); }

  void Write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  // A file of f32 tensors: {"name": [rows, cols]}, as JSON members that lack the offsets.
  void WriteTensors(const std::vector<std::pair<std::string, std::vector<int>>>& tensors,
                    const std::string& dtype = "F32") {
    std::string header = "{";
    int end = 0;
    for (const auto& [name, shape] : tensors) {
      const int begin = end;
      int count = dtype == "F32" ? 4 : 1;
      std::string dims;
      for (const int dim : shape) {
        count *= dim;
        dims += (dims.empty() ? "" : ",") + std::to_string(dim);
      }
      end += count;
      header += (header.size() > 1 ? ",\"" : "\"") + name + "\":{\"dtype\":\"" + dtype +
                "\",\"shape\":[" + dims + "],\"data_offsets\":[" + std::to_string(begin) + "," +
                std::to_string(end) + "]}";
    }
    header += "}";
    const uint64_t length = header.size();
    Write("adapter_model.safetensors",
          std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header +
              std::string(static_cast<size_t>(end), '\0'));
  }
  std::string Error() {
    const auto read = ReadAdapter("bad", folder_.string());
    EXPECT_FALSE(read.ok());
    return std::string(read.status().message());
  }

  fs::path folder_;
};

TEST_F(BadAdapterTest, MissingFilesAreNamed) {
  EXPECT_THAT(Error(), HasSubstr("adapter_model.safetensors"));
  fs::remove(folder_ / "adapter_config.json");
  EXPECT_THAT(Error(), HasSubstr("adapter_config.json' does not exist"));
}

TEST_F(BadAdapterTest, ErrorsOfTheConfigurationNameItsFile) {
  Write("adapter_config.json", R"({"peft_type": "LORA", "r": 2, "use_dora": true})");
  WriteTensors({});
  EXPECT_THAT(Error(), StartsWith((folder_ / "adapter_config.json").string() + ": 'use_dora'"));
}

TEST_F(BadAdapterTest, TensorsOfNoLinearModuleAreRefused) {
  WriteTensors({{"base_model.model.x.lora_magnitude_vector", {2, 2}}});
  EXPECT_THAT(Error(), HasSubstr("tensor 'base_model.model.x.lora_magnitude_vector' F32 [2, 2]"));
  WriteTensors({{"base_model.model.x.lora_embedding_C", {2, 2}}});
  EXPECT_THAT(Error(), HasSubstr("lora_embedding_C"));
  WriteTensors({{"x.lora_A.weight", {2, 2}}});
  EXPECT_THAT(Error(), HasSubstr("expected only base_model.model.MODULE.lora_A.weight"));
}

TEST(ReadAdapterTest, AVocabularysEndsAreModulesWithTheirBasesShapes) {
  const auto adapter = ReadAdapter("ends", Golden("llama3_d64_ends"));
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  const AdapterModule& embedding = (*adapter)->modules.at("model.embed_tokens");
  EXPECT_TRUE(embedding.is_embedding);
  EXPECT_EQ(embedding.a.shape, (std::vector<int64_t>{8, 96}));
  EXPECT_EQ(embedding.b.shape, (std::vector<int64_t>{64, 8}));
  EXPECT_EQ(embedding.base_shape, (std::vector<int64_t>{96, 64}));
  const AdapterModule& head = (*adapter)->modules.at("lm_head");
  EXPECT_FALSE(head.is_embedding);
  EXPECT_EQ(head.base_shape, (std::vector<int64_t>{96, 64}));
  EXPECT_TRUE((*adapter)->modules.at("model.layers.0.self_attn.q_proj").base_shape.empty());
}

TEST(ReadAdapterTest, StacksOfExpertsGetTheNamesOfTheirParameters) {
  const auto adapter = ReadAdapter("stacks", Golden("qwen3_moe_stacks"));
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  const AdapterModule& in = (*adapter)->modules.at("model.layers.1.mlp.experts.gate_up_proj");
  EXPECT_EQ(in.experts, 8);
  EXPECT_EQ(in.rank(), 3);
  EXPECT_EQ(in.b.shape, (std::vector<int64_t>{64, 24}));
  const AdapterModule& out = (*adapter)->modules.at("model.layers.1.mlp.experts.down_proj");
  EXPECT_EQ(out.experts, 8);
  EXPECT_EQ(out.rank(), 5);
  EXPECT_EQ(out.b.shape, (std::vector<int64_t>{32, 40}));
  EXPECT_EQ((*adapter)->modules.count("model.layers.1.mlp.experts"), 0u);
  EXPECT_EQ((*adapter)->modules.at("model.layers.1.self_attn.v_proj").experts, 1);
}

class StacksTest : public BadAdapterTest {
 protected:
  void Target(const std::string& parameters) {
    Write("adapter_config.json",
          R"({"peft_type": "LORA", "r": 2, "target_parameters": [)" + parameters + "]}");
  }
  // Of two experts, hidden size 5 and inner size 7.
  using Tensors = std::vector<std::pair<std::string, std::vector<int>>>;
  static Tensors In(const std::string& module) {
    return {{"base_model.model." + module + ".lora_A.weight", {4, 5}},
            {"base_model.model." + module + ".lora_B.weight", {14, 4}}};
  }
  static Tensors Out(const std::string& module) {
    return {{"base_model.model." + module + ".lora_A.weight", {4, 7}},
            {"base_model.model." + module + ".lora_B.weight", {5, 4}}};
  }
  static Tensors Both(Tensors one, const Tensors& other) {
    one.insert(one.end(), other.begin(), other.end());
    return one;
  }
};

TEST_F(StacksTest, EitherMayBeInsideTheOther) {
  Target(R"("experts.gate_up_proj", "experts.down_proj")");
  for (const bool swapped : {false, true}) {
    const std::string inner = "m.experts.base_layer";
    WriteTensors(swapped ? Both(In("m.experts"), Out(inner)) : Both(Out("m.experts"), In(inner)));
    const auto adapter = ReadAdapter("stacks", folder_.string());
    ASSERT_TRUE(adapter.ok()) << adapter.status();
    EXPECT_EQ((*adapter)->modules.at("m.experts.gate_up_proj").b.shape[0], 14);
    EXPECT_EQ((*adapter)->modules.at("m.experts.down_proj").b.shape[0], 5);
    EXPECT_EQ((*adapter)->modules.size(), 2u);
  }
}

TEST_F(StacksTest, WhatDoesNotFitTheConfigurationOrEachOtherIsRefused) {
  WriteTensors(In("x.experts"));
  EXPECT_THAT(Error(), HasSubstr("has adapters of one stack of 'x.experts', of which "
                                 "'target_parameters' of adapter_config.json names 0"));
  Target(R"("experts.gate_up_proj")");
  WriteTensors(Both(Out("x.experts"), In("x.experts.base_layer")));
  EXPECT_THAT(Error(), HasSubstr("has adapters of two stacks of 'x.experts', of which "
                                 "'target_parameters' of adapter_config.json names 1"));
  WriteTensors(In("x.mlp"));
  EXPECT_THAT(Error(), HasSubstr("expected a rank of 2"));
  WriteTensors({{"base_model.model.x.experts.lora_A.weight", {3, 5}},
                {"base_model.model.x.experts.lora_B.weight", {14, 3}}});
  EXPECT_THAT(Error(), HasSubstr("expected a rank of 2"));
  Target(R"("experts.gate_up_proj", "experts.down_proj")");
  WriteTensors(Both(In("x.experts"), In("x.experts.base_layer")));
  EXPECT_THAT(Error(), HasSubstr("do not fit into one module of experts"));
  Target(R"("y.experts.gate_up_proj")");
  WriteTensors(Both(In("y.experts"), {{"base_model.model.z.experts.lora_A.weight", {2, 5}}}));
  EXPECT_THAT(Error(), HasSubstr("module 'z.experts' has only one of lora_A and lora_B"));
}

TEST_F(BadAdapterTest, AWeightBesideNoAdapterIsRefused) {
  WriteTensors({{"base_model.model.x.base_layer.weight", {5, 5}}});
  EXPECT_THAT(Error(), HasSubstr("module 'x' has neither lora_A nor lora_B"));
}

TEST_F(BadAdapterTest, HalvesRanksAndTypesMustFit) {
  WriteTensors({{"base_model.model.x.lora_A.weight", {2, 5}}});
  EXPECT_THAT(Error(), HasSubstr("module 'x' has only one of lora_A and lora_B"));
  WriteTensors(
      {{"base_model.model.x.lora_A.weight", {3, 5}}, {"base_model.model.x.lora_B.weight", {7, 3}}});
  EXPECT_THAT(Error(), HasSubstr("expected a rank of 2"));
  WriteTensors({{"base_model.model.x.lora_A.weight", {2, 5}}}, "I8");
  EXPECT_THAT(Error(), HasSubstr("expected F32, F16 or BF16"));
  WriteTensors({{"base_model.model.x.lora_A.weight", {2}}});
  EXPECT_THAT(Error(), HasSubstr("expected a matrix"));
  WriteTensors({});
  EXPECT_THAT(Error(), HasSubstr("holds no tensors"));
}

TEST_F(BadAdapterTest, TargetsWithoutTensorsAreAnError) {
  Write("adapter_config.json", R"({"peft_type": "LORA", "r": 2, "target_modules": ["x", "y"]})");
  WriteTensors(
      {{"base_model.model.x.lora_A.weight", {2, 5}}, {"base_model.model.x.lora_B.weight", {7, 2}}});
  EXPECT_THAT(Error(), HasSubstr("has no tensors of 'y'"));
}

TEST_F(BadAdapterTest, TruncatedFilesAreErrors) {
  WriteTensors(
      {{"base_model.model.x.lora_A.weight", {2, 5}}, {"base_model.model.x.lora_B.weight", {7, 2}}});
  ASSERT_TRUE(ReadAdapter("good", folder_.string()).ok());
  fs::resize_file(folder_ / "adapter_model.safetensors", 40);
  EXPECT_THAT(Error(), HasSubstr("adapter_model.safetensors"));
}

}  // namespace
}  // namespace pingti::worker
