// Rows of stacks that files keep in ways of their own have the values that the formats give them.
#include "worker/quant/stacked_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "worker/quant/ggml_blocks.h"

namespace pingti::worker {
namespace {

constexpr uint32_t kSeed = 6;

std::vector<float> Values(const TensorView& matrix) {
  std::vector<float> values(static_cast<size_t>(matrix.NumElements()));
  Dequantize(matrix.dtype, matrix.data, matrix.NumElements(), values.data());
  return values;
}

TensorView View(DType dtype, std::vector<int64_t> shape, const void* data, int64_t bytes) {
  return {"w", dtype, std::move(shape), data, bytes};
}

TEST(StackedRowsTest, GatheredRowsAreThoseAskedFor) {
  std::vector<float> values(7 * 3);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const TensorView tensor = View(DType::kF32, {7, 3}, values.data(), 7 * 3 * 4);
  SliceMemory memory;
  const TensorView rows = GatherRows(tensor, {1, 3, 2}, &memory);
  EXPECT_EQ(rows.shape, (std::vector<int64_t>{3, 3}));
  EXPECT_EQ(Values(rows), (std::vector<float>{3, 4, 5, 9, 10, 11, 15, 16, 17}));
  TensorView without_data = tensor;
  without_data.data = nullptr;
  EXPECT_EQ(GatherRows(without_data, {1, 3, 2}, &memory).data, nullptr);
}

TEST(StackedRowsTest, RowsOfTransposedExpertsAreTheirColumns) {
  // [experts 2, cols 3, rows 4]
  std::vector<float> values(2 * 3 * 4);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const TensorView stored =
      View(DType::kF32, {2, 3, 4}, values.data(), static_cast<int64_t>(values.size()) * 4);
  SliceMemory memory;
  // Rows 1 and 3 of the second expert.
  const TensorView rows = GatherTransposedRows(stored, {5, 2, 2}, &memory);
  EXPECT_EQ(rows.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(Values(rows), (std::vector<float>{13, 17, 21, 15, 19, 23}));
}

// E2M1: a sign, two bits of exponent, one of mantissa.
double Element(int code) {
  const int exponent = code >> 1 & 3;
  const double mantissa = (code & 1) * 0.5;
  const double size = exponent == 0 ? mantissa : std::ldexp(1.0 + mantissa, exponent - 1);
  return (code & 8) != 0 ? -size : size;
}

TEST(StackedRowsTest, Mxfp4InTwoTensorsHasTheValuesOfTheFormat) {
  constexpr int64_t kExperts = 2;
  constexpr int64_t kRows = 6;
  constexpr int64_t kGroups = 3;
  std::mt19937 rng(kSeed);
  std::vector<uint8_t> blocks(kExperts * kRows * kGroups * 16);
  std::vector<uint8_t> scales(kExperts * kRows * kGroups);
  for (uint8_t& byte : blocks) byte = static_cast<uint8_t>(rng());
  for (uint8_t& scale : scales) scale = static_cast<uint8_t>(100 + rng() % 50);
  const TensorView block_view = View(DType::kU8, {kExperts, kRows, kGroups, 16}, blocks.data(),
                                     static_cast<int64_t>(blocks.size()));
  const TensorView scale_view = View(DType::kU8, {kExperts, kRows, kGroups}, scales.data(),
                                     static_cast<int64_t>(scales.size()));
  SliceMemory memory;
  const RowSteps steps{kRows + 1, 3, 2};  // every second row of the second expert
  const TensorView rows = GatherMxfp4Rows(block_view, scale_view, steps, &memory);
  EXPECT_EQ(rows.dtype, DType::kMxfp4);
  EXPECT_EQ(rows.shape, (std::vector<int64_t>{3, 32 * kGroups}));
  const std::vector<float> got = Values(rows);
  for (int64_t i = 0; i < steps.count; ++i) {
    const int64_t row = steps.first + i * steps.stride;
    for (int64_t c = 0; c < 32 * kGroups; ++c) {
      const auto group = static_cast<size_t>(row * kGroups + c / 32);
      const int byte = blocks[group * 16 + static_cast<size_t>(c % 32 / 2)];
      const double expected =
          std::ldexp(Element(c % 2 == 0 ? byte & 15 : byte >> 4), scales[group] - 127);
      EXPECT_EQ(got[static_cast<size_t>(i * 32 * kGroups + c)], static_cast<float>(expected))
          << "row " << row << " column " << c;
    }
  }
}

}  // namespace
}  // namespace pingti::worker
