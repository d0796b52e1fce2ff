// Matrices as bitsandbytes saves them, against its formulas; what does not fit is named.
#include "worker/weights/bitsandbytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <deque>
#include <random>
#include <string>

#include "worker/quant/ggml_blocks.h"
#include "worker/tensor/nf4.h"

namespace pingti::worker {
namespace {

using ::testing::HasSubstr;

// Tensors and what they point to.
class BitsAndBytesTest : public ::testing::Test {
 protected:
  template <typename T>
  void Add(const std::string& name, DType dtype, std::vector<int64_t> shape,
           const std::vector<T>& values) {
    std::string& bytes = memory_.emplace_back(values.size() * sizeof(T), '\0');
    std::memcpy(bytes.data(), values.data(), bytes.size());
    tensors_.push_back(
        {name, dtype, std::move(shape), bytes.data(), static_cast<int64_t>(bytes.size())});
  }
  void AddText(const std::string& name, const std::string& text) {
    Add(name, DType::kU8, {static_cast<int64_t>(text.size())},
        std::vector<char>(text.begin(), text.end()));
  }
  // A matrix of 2 x 128 values in nf4; returns its bytes of nibbles.
  std::vector<uint8_t> AddNf4(bool nested) {
    std::vector<uint8_t> nibbles;
    for (int i = 0; i < 128; ++i) nibbles.push_back(static_cast<uint8_t>(i * 37));
    Add("m.weight", DType::kU8, {128, 1}, nibbles);
    Add("m.weight.quant_map", DType::kF32, {16},
        std::vector<float>(std::begin(kNf4Values), std::end(kNf4Values)));
    if (nested) {
      Add("m.weight.absmax", DType::kU8, {4}, std::vector<uint8_t>{0, 10, 200, 255});
      Add("m.weight.nested_absmax", DType::kF32, {2}, std::vector<float>{0.5f, 0.25f});
      std::vector<float> map;
      for (int i = 0; i < 256; ++i) map.push_back(static_cast<float>(i) / 255.0f);
      Add("m.weight.nested_quant_map", DType::kF32, {256}, map);
    } else {
      Add("m.weight.absmax", DType::kF32, {4}, std::vector<float>{0.5f, 1.0f, 2.0f, 4.0f});
    }
    AddText(
        "m.weight.quant_state.bitsandbytes__nf4",
        std::string(R"({"quant_type":"nf4","blocksize":64,"dtype":"bfloat16","shape":[2,128])") +
            (nested ? R"(,"nested_blocksize":2,"nested_dtype":"float32","nested_offset":0.125})"
                    : "}"));
    return nibbles;
  }
  absl::StatusOr<bool> Join() { return JoinBitsAndBytes(&tensors_, &made_); }
  const TensorView& Tensor(const std::string& name) {
    for (const TensorView& tensor : tensors_) {
      if (tensor.name == name) return tensor;
    }
    ADD_FAILURE() << "no tensor " << name;
    return tensors_.front();
  }

  std::deque<std::string> memory_;
  std::vector<TensorView> tensors_;
  std::vector<std::unique_ptr<std::byte[]>> made_;
};

TEST_F(BitsAndBytesTest, RowsOfEightBitsGetScales) {
  Add("m.weight", DType::kI8, {2, 3}, std::vector<int8_t>{1, -127, 5, 0, 127, -3});
  Add("m.SCB", DType::kF32, {2}, std::vector<float>{1.27f, 254.0f});
  Add("m.weight_format", DType::kU8, {}, std::vector<uint8_t>{0});
  Add("norm.weight", DType::kF32, {1}, std::vector<float>{1.0f});
  const auto has_int8 = Join();
  ASSERT_TRUE(has_int8.ok()) << has_int8.status();
  EXPECT_TRUE(*has_int8);
  EXPECT_EQ(tensors_.size(), 3u);
  const TensorView& scale = Tensor("m.weight_scale");
  EXPECT_EQ(scale.shape, (std::vector<int64_t>{2, 1}));
  float values[2];
  std::memcpy(values, scale.data, sizeof(values));
  EXPECT_FLOAT_EQ(values[0], 0.01f);
  EXPECT_FLOAT_EQ(values[1], 2.0f);
}

TEST_F(BitsAndBytesTest, BlocksOfNf4HaveTheValuesOfTheFormula) {
  for (const bool nested : {false, true}) {
    tensors_.clear();
    const std::vector<uint8_t> nibbles = AddNf4(nested);
    const auto has_int8 = Join();
    ASSERT_TRUE(has_int8.ok()) << has_int8.status();
    EXPECT_FALSE(*has_int8);
    ASSERT_EQ(tensors_.size(), 1u);
    const TensorView& matrix = Tensor("m.weight");
    EXPECT_EQ(matrix.dtype, DType::kNf4);
    EXPECT_EQ(matrix.shape, (std::vector<int64_t>{2, 128}));
    std::vector<float> values(256);
    Dequantize(DType::kNf4, matrix.data, 256, values.data());
    const float absmax[] = {0.5f, 1.0f, 2.0f, 4.0f};
    const float nested_absmax[] = {0.0f * 0.5f + 0.125f, 10.0f / 255.0f * 0.5f + 0.125f,
                                   200.0f / 255.0f * 0.25f + 0.125f, 1.0f * 0.25f + 0.125f};
    const float* const scales = nested ? nested_absmax : absmax;
    for (size_t i = 0; i < 256; ++i) {
      const uint8_t byte = nibbles[i / 2];
      const int place = i % 2 == 0 ? byte >> 4 : byte & 15;
      EXPECT_EQ(values[i], kNf4Values[place] * scales[i / 64]) << i;
    }
  }
}

TEST_F(BitsAndBytesTest, WhatLacksOrDoesNotFitIsNamed) {
  const auto error = [&](const std::string& drop) {
    tensors_.clear();
    AddNf4(true);
    std::erase_if(tensors_, [&](const TensorView& tensor) { return tensor.name == drop; });
    return std::string(Join().status().message());
  };
  for (const std::string name : {"m.weight", "m.weight.absmax", "m.weight.quant_map",
                                 "m.weight.nested_absmax", "m.weight.nested_quant_map"}) {
    EXPECT_THAT(error(name), HasSubstr("tensor '" + name + "' is missing"));
  }
  for (const std::string state :
       {R"({"blocksize":64,"shape":[2,100]})", R"({"blocksize":128,"shape":[2,128]})",
        R"({"blocksize":64,"shape":[2]})", R"({"blocksize":64,"shape":[-2,128]})", R"([])", "x"}) {
    tensors_.clear();
    AddNf4(false);
    tensors_.pop_back();
    AddText("m.weight.quant_state.bitsandbytes__nf4", state);
    EXPECT_THAT(std::string(Join().status().message()), HasSubstr("quant_state.bitsandbytes__nf4'"))
        << state;
  }
  tensors_.clear();
  AddText("m.weight.quant_state.bitsandbytes__fp4", "{}");
  EXPECT_THAT(std::string(Join().status().message()), HasSubstr("fp4; expected nf4"));
  tensors_.clear();
  Add("m.SCB", DType::kF32, {2}, std::vector<float>{1.0f, 1.0f});
  EXPECT_THAT(std::string(Join().status().message()), HasSubstr("'m.weight' is missing"));
}

}  // namespace
}  // namespace pingti::worker
