// quantization_config of a config.json: what is read, and that refusals name the field.
#include "worker/weights/hf_quantization.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>

#include "common/base/strings.h"

namespace pingti::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// `body`: the fields of quantization_config.
absl::StatusOr<HfQuantization> Read(const std::string& body) {
  const auto root = ParseJsonObject(R"({"quantization_config":{)" + body + "}}");
  EXPECT_TRUE(root.ok()) << root.status();
  return ReadHfQuantization(JsonFields(root->get_object(), ""));
}

std::string ErrorOf(const std::string& body) { return std::string(Read(body).status().message()); }

// A compressed-tensors configuration with one group.
std::string Compressed(const std::string& format, const std::string& weights,
                       const std::string& inputs = "null") {
  return R"("quant_method":"compressed-tensors","format":")" + format +
         R"(","config_groups":{"group_0":{"targets":["Linear"],"weights":{)" + weights +
         R"(},"input_activations":)" + inputs + "}}";
}

TEST(HfQuantizationTest, NoneIsNone) {
  const auto root = ParseJsonObject("{}");
  const auto read = ReadHfQuantization(JsonFields(root->get_object(), ""));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_FALSE(read->int8.present);
  EXPECT_FALSE(read->packed.present);
}

TEST(HfQuantizationTest, GptqSaysBitsGroupsAndHowZerosAreStored) {
  const auto read =
      Read(R"("quant_method":"gptq","bits":4,"group_size":128,"desc_act":false,"sym":true,)"
           R"("true_sequential":true,"damp_percent":0.01)");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->packed.present);
  EXPECT_EQ(read->packed.method, "gptq");
  EXPECT_EQ(read->packed.layout, PackedLayout::kGptq);
  EXPECT_EQ(read->packed.bits, 4);
  EXPECT_EQ(read->packed.group_size, 128);
  EXPECT_TRUE(read->packed.needs_zeros);
  EXPECT_EQ(read->packed.zero_offset, 1);
  const auto v2 =
      Read(R"("quant_method":"gptq","bits":8,"group_size":-1,"checkpoint_format":"gptq_v2")");
  ASSERT_TRUE(v2.ok()) << v2.status();
  EXPECT_EQ(v2->packed.bits, 8);
  EXPECT_EQ(v2->packed.group_size, 0);
  EXPECT_EQ(v2->packed.zero_offset, 0);
}

TEST(HfQuantizationTest, ModulesMayHaveNumbersOfTheirOwn) {
  const auto gptq = Read(
      R"("quant_method":"gptq","bits":4,"group_size":128,"dynamic":{"+:.*down.*":{"bits":8}})");
  ASSERT_TRUE(gptq.ok()) << gptq.status();
  EXPECT_TRUE(gptq->packed.varies);
  EXPECT_FALSE(Read(R"("quant_method":"gptq","bits":4,"group_size":128)")->packed.varies);
}

TEST(HfQuantizationTest, AutoRoundSaysWhosePackingItUses) {
  const auto gptq = Read(R"("quant_method":"auto-round","bits":4,"group_size":128,"sym":true,)"
                         R"("packing_format":"auto_round:auto_gptq")");
  ASSERT_TRUE(gptq.ok()) << gptq.status();
  EXPECT_EQ(gptq->packed.layout, PackedLayout::kGptq);
  EXPECT_EQ(gptq->packed.method, "auto-round");
  EXPECT_EQ(gptq->packed.zero_offset, 1);
  const auto awq = Read(R"("quant_method":"auto-round","bits":4,"group_size":128,)"
                        R"("packing_format":"auto_round:auto_awq")");
  ASSERT_TRUE(awq.ok()) << awq.status();
  EXPECT_EQ(awq->packed.layout, PackedLayout::kAwq);
  EXPECT_THAT(ErrorOf(R"("quant_method":"auto-round","bits":4,"group_size":128)"),
              HasSubstr("'quantization_config.packing_format' ''"));
}

TEST(HfQuantizationTest, BitsAndBytesIsOfEightBitsOrNf4) {
  const auto eight = Read(R"("quant_method":"bitsandbytes","load_in_8bit":true,)"
                          R"("load_in_4bit":false,"llm_int8_threshold":6.0)");
  ASSERT_TRUE(eight.ok()) << eight.status();
  EXPECT_TRUE(eight->bitsandbytes);
  EXPECT_TRUE(Read(R"("quant_method":"bitsandbytes","load_in_4bit":true,)"
                   R"("bnb_4bit_quant_type":"nf4","bnb_4bit_use_double_quant":true)")
                  ->bitsandbytes);
  EXPECT_THAT(ErrorOf(R"("quant_method":"bitsandbytes","load_in_4bit":true)"),
              HasSubstr("'quantization_config.bnb_4bit_quant_type' ''; expected nf4"));
  EXPECT_THAT(ErrorOf(R"("quant_method":"bitsandbytes")"), HasSubstr("load_in_8bit"));
}

TEST(HfQuantizationTest, AwqSaysWhetherThereAreZeros) {
  const auto read =
      Read(R"("quant_method":"awq","bits":4,"group_size":64,"version":"gemm","zero_point":true,)"
           R"("modules_to_not_convert":null)");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->packed.method, "awq");
  EXPECT_EQ(read->packed.layout, PackedLayout::kAwq);
  EXPECT_EQ(read->packed.group_size, 64);
  EXPECT_TRUE(read->packed.needs_zeros);
  EXPECT_EQ(read->packed.zero_offset, 0);
  const auto symmetric =
      Read(R"("quant_method":"awq","bits":4,"group_size":64,"version":"GEMM","zero_point":false,)"
           R"("modules_to_not_convert":["lm_head"])");
  ASSERT_TRUE(symmetric.ok()) << symmetric.status();
  EXPECT_FALSE(symmetric->packed.needs_zeros);
}

TEST(HfQuantizationTest, CompressedTensorsPacksGroupsOrRows) {
  const auto group = Read(Compressed(
      "pack-quantized",
      R"("num_bits":4,"type":"int","strategy":"group","group_size":128,"symmetric":true)"));
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_FALSE(group->int8.present);
  EXPECT_EQ(group->packed.method, "compressed-tensors");
  EXPECT_EQ(group->packed.layout, PackedLayout::kRowMajor);
  EXPECT_EQ(group->packed.group_size, 128);
  EXPECT_FALSE(group->packed.needs_zeros);
  const auto channel = Read(Compressed(
      "pack-quantized", R"("num_bits":8,"type":"int","strategy":"channel","symmetric":false)"));
  ASSERT_TRUE(channel.ok()) << channel.status();
  EXPECT_EQ(channel->packed.bits, 8);
  EXPECT_EQ(channel->packed.group_size, 0);
  EXPECT_TRUE(channel->packed.needs_zeros);
}

TEST(HfQuantizationTest, Int8OfCompressedTensorsIsNotPacked) {
  const auto read = Read(Compressed(
      "int-quantized", R"("num_bits":8,"type":"int","strategy":"channel","symmetric":true)",
      R"({"num_bits":8,"type":"int","symmetric":true,"strategy":"token","dynamic":true})"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->int8.present);
  EXPECT_FALSE(read->packed.present);
  EXPECT_THAT(ErrorOf(Compressed("int-quantized", R"("num_bits":4,"strategy":"channel")")),
              HasSubstr("are 4-bit int"));
}

TEST(HfQuantizationTest, RefusalsNameTheFieldAndTheValue) {
  EXPECT_THAT(ErrorOf(R"("quant_method":"hqq")"),
              HasSubstr("'quantization_config.quant_method' 'hqq'; expected gptq or awq or "
                        "compressed-tensors or bitsandbytes or auto-round"));
  EXPECT_THAT(ErrorOf(R"("quant_method":"gptq")"),
              HasSubstr("'quantization_config.bits' is missing"));
  EXPECT_THAT(ErrorOf(R"("quant_method":"gptq","bits":3,"group_size":128)"),
              HasSubstr("'quantization_config.bits' 3; expected 4 or 8"));
  EXPECT_THAT(ErrorOf(R"("quant_method":"gptq","bits":4)"),
              HasSubstr("'quantization_config.group_size' is missing"));
  for (const char* size : {"16", "0", "96", "100"}) {
    EXPECT_THAT(ErrorOf(Concat(R"("quant_method":"gptq","bits":4,"group_size":)", size)),
                HasSubstr(Concat("'quantization_config.group_size' ", size, "; expected 32, 64")));
  }
  EXPECT_THAT(ErrorOf(R"("quant_method":"gptq","bits":4,"group_size":-2)"),
              HasSubstr("'quantization_config.group_size' is -2"));
  EXPECT_THAT(
      ErrorOf(R"("quant_method":"gptq","bits":4,"group_size":128,"checkpoint_format":"marlin")"),
      HasSubstr("'quantization_config.checkpoint_format' 'marlin'"));
  EXPECT_THAT(ErrorOf(R"("quant_method":"gptq","bits":4,"group_size":128,"is_marlin_format":true)"),
              HasSubstr("'quantization_config.is_marlin_format'"));
}

TEST(HfQuantizationTest, RefusalsOfAwqNameTheFieldAndTheValue) {
  EXPECT_THAT(ErrorOf(R"("quant_method":"awq","bits":8,"group_size":128)"),
              HasSubstr("'quantization_config.bits' 8; expected 4"));
  for (const char* version : {"gemv", "gemv_fast", "marlin"}) {
    EXPECT_THAT(ErrorOf(Concat(R"("quant_method":"awq","bits":4,"group_size":128,"version":")",
                               version, "\"")),
                AllOf(HasSubstr("'quantization_config.version'"), HasSubstr(version)));
  }
  EXPECT_THAT(ErrorOf(R"("quant_method":"awq","bits":4,"group_size":128,"backend":"llm-awq")"),
              HasSubstr("'quantization_config.backend' 'llm-awq'"));
}

TEST(HfQuantizationTest, EightBitFloatsSayTheSizeOfABlock) {
  const auto read = Read(R"("quant_method":"fp8","fmt":"e4m3","activation_scheme":"dynamic",)"
                         R"("weight_block_size":[128,64])");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->fp8.present);
  EXPECT_EQ(read->fp8.rows, 128);
  EXPECT_EQ(read->fp8.cols, 64);
  EXPECT_FALSE(read->packed.present || read->int8.present);
  EXPECT_THAT(ErrorOf(R"("quant_method":"fp8","weight_block_size":null)"),
              HasSubstr("'quantization_config.weight_block_size': expected the rows and columns"));
  EXPECT_THAT(ErrorOf(R"("quant_method":"fp8","weight_block_size":[128,0])"),
              HasSubstr("weight_block_size"));
  EXPECT_THAT(ErrorOf(R"("quant_method":"fp8","fmt":"e5m2","weight_block_size":[128,128])"),
              HasSubstr("'quantization_config.fmt' 'e5m2'; expected e4m3"));
  EXPECT_THAT(ErrorOf(R"("quant_method":"fp8","activation_scheme":"static",)"
                      R"("weight_block_size":[128,128])"),
              HasSubstr("'quantization_config.activation_scheme' 'static'; expected dynamic"));
}

TEST(HfQuantizationTest, RefusalsOfCompressedTensorsNameTheFieldAndTheValue) {
  const std::string four = R"("num_bits":4,"type":"int","strategy":"group","group_size":128)";
  EXPECT_THAT(ErrorOf(Compressed("marlin-24", four)),
              HasSubstr("'quantization_config.format' 'marlin-24'"));
  EXPECT_THAT(ErrorOf(Compressed("pack-quantized", four, "{}")),
              HasSubstr("config_groups.group_0.input_activations'"));
  EXPECT_THAT(ErrorOf(Compressed("pack-quantized", R"("num_bits":4,"strategy":"block")")),
              HasSubstr("strategy 'block'"));
  EXPECT_THAT(ErrorOf(Compressed("pack-quantized", R"("num_bits":2,"strategy":"channel")")),
              HasSubstr("config_groups.group_0.weights.num_bits' 2; expected 4 or 8"));
  EXPECT_THAT(
      ErrorOf(Compressed("pack-quantized", R"("num_bits":4,"type":"float","strategy":"channel")")),
      HasSubstr("are float"));
  EXPECT_THAT(ErrorOf(R"("quant_method":"compressed-tensors","format":"pack-quantized")"),
              HasSubstr("config_groups' is missing"));
  EXPECT_THAT(
      ErrorOf(R"("quant_method":"compressed-tensors","format":"pack-quantized","config_groups":)"
              R"({"a":{"weights":{"num_bits":4,"strategy":"channel"}},)"
              R"("b":{"weights":{"num_bits":8,"strategy":"channel"}}})"),
      HasSubstr("config_groups.b.weights' differ"));
  EXPECT_THAT(ErrorOf(Compressed("pack-quantized", four) + R"(,"kv_cache_scheme":{})"),
              HasSubstr("kv_cache_scheme"));
}

}  // namespace
}  // namespace pingti::worker
