// A slice has the matrix's values in its range, in every layout, and is read like any other matrix.
#include "worker/quant/slice_matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/worker/quant/packed_builder.h"
#include "worker/quant/ggml_blocks.h"
#include "worker/quant/source_rows.h"
#include "worker/tensor/matrix_source.h"

namespace pingti::worker {
namespace {

using testing::BuildPacked;
using testing::BuiltPacked;
using ::testing::HasSubstr;
using testing::PackedSpec;

constexpr uint32_t kSeed = 5;

std::vector<float> Values(const MatrixSource& source) {
  EXPECT_TRUE(CheckMatrixSource(source).ok()) << CheckMatrixSource(source);
  const int64_t rows = source.tensor.shape[0];
  std::vector<float> values(static_cast<size_t>(rows * source.tensor.shape[1]));
  SourceRows(source).ReadF32(0, rows, values.data());
  return values;
}

std::vector<float> Range(const std::vector<float>& values, int64_t width,
                         const MatrixRange& range) {
  std::vector<float> part;
  for (int64_t r = range.first_row; r < range.first_row + range.rows; ++r) {
    const auto row = values.begin() + r * width;
    part.insert(part.end(), row + range.first_col, row + range.first_col + range.cols);
  }
  return part;
}

std::vector<PackedSpec> Specs() {
  std::vector<PackedSpec> specs;
  for (const PackedLayout layout :
       {PackedLayout::kGptq, PackedLayout::kAwq, PackedLayout::kRowMajor}) {
    for (const int bits : {4, 8}) {
      if (layout == PackedLayout::kAwq && bits == 8) continue;
      for (const int64_t group : {32, 64, 128, 320}) {
        for (const bool zeros : {false, true}) {
          specs.push_back({layout, bits, 40, 320, group, zeros, zeros ? 1 : 0});
        }
      }
    }
  }
  return specs;
}

TEST(SlicePackedTest, AnyRangeInUnitsOfWordsAndGroupsHasTheSameValues) {
  std::mt19937 rng(kSeed);
  for (const PackedSpec& spec : Specs()) {
    SCOPED_TRACE(NameOf(spec));
    const BuiltPacked built = BuildPacked(spec, &rng);
    const int64_t unit = spec.group_size == spec.cols ? 8 : 32;
    for (int i = 0; i < 60; ++i) {
      const auto pick = [&rng](int64_t units) { return static_cast<int64_t>(rng() % units); };
      MatrixRange range;
      range.first_row = 8 * pick(5);
      range.rows = 8 * (1 + pick(5 - range.first_row / 8));
      range.first_col = unit * pick(spec.cols / unit);
      range.cols = unit * (1 + pick((spec.cols - range.first_col) / unit));
      SCOPED_TRACE(::testing::Message() << "rows " << range.first_row << " + " << range.rows
                                        << ", columns " << range.first_col << " + " << range.cols);
      SliceMemory memory;
      const auto slice = SlicePacked(built.View(), range, &memory);
      ASSERT_TRUE(slice.ok()) << slice.status();
      MatrixSource source;
      source.packed = *slice;
      source.tensor = slice->words;
      source.tensor.shape = {range.rows, range.cols};
      EXPECT_EQ(Values(source), Range(built.values, spec.cols, range));
    }
  }
}

TEST(SlicePackedTest, ARangeWithinOneGroupNeedsOnlyWholeWords) {
  std::mt19937 rng(kSeed);
  const BuiltPacked built = BuildPacked({PackedLayout::kGptq, 4, 16, 256, 128, true}, &rng);
  SliceMemory memory;
  const MatrixRange range{0, 16, 136, 24};
  const auto slice = SlicePacked(built.View(), range, &memory);
  ASSERT_TRUE(slice.ok()) << slice.status();
  MatrixSource source;
  source.packed = *slice;
  source.tensor = slice->words;
  source.tensor.shape = {16, 24};
  EXPECT_EQ(Values(source), Range(built.values, 256, range));
}

TEST(SlicePackedTest, BoundariesThatCutWordsOrLeaveOddGroupsAreRefusedByName) {
  std::mt19937 rng(kSeed);
  const BuiltPacked gptq = BuildPacked({PackedLayout::kGptq, 4, 16, 256, 128, true}, &rng);
  const BuiltPacked awq = BuildPacked({PackedLayout::kAwq, 4, 16, 256, 128, true}, &rng);
  SliceMemory memory;
  const auto error = [&](const BuiltPacked& built, const MatrixRange& range) {
    return std::string(SlicePacked(built.View(), range, &memory).status().message());
  };
  EXPECT_THAT(error(gptq, {0, 16, 0, 100}), HasSubstr("tensor 'w.words'"));
  EXPECT_THAT(error(gptq, {0, 16, 0, 100}), HasSubstr("columns 0 to 99, which cuts words of 8"));
  EXPECT_THAT(error(gptq, {0, 16, 16, 240}), HasSubstr("column 16, which cuts groups of 128"));
  EXPECT_THAT(error(gptq, {4, 8, 0, 256}), HasSubstr("rows 4 to 11"));
  EXPECT_THAT(error(awq, {4, 8, 0, 256}), HasSubstr("rows 4 to 11, which cuts words of 8"));
}

// Random bytes are numbers in every block type; f16 scales that are not finite are left out.
std::vector<uint8_t> RandomBlocks(DType dtype, int64_t count, std::mt19937* rng) {
  std::vector<uint8_t> bytes(static_cast<size_t>(count * BlockBytes(dtype)));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>((*rng)() & 0x3f);
  return bytes;
}

TEST(SliceTensorTest, AnyRangeHasTheSameValuesInEveryType) {
  std::mt19937 rng(kSeed);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16, DType::kQ8_0, DType::kQ4_0,
                            DType::kQ4_1, DType::kQ4K, DType::kQ6K}) {
    SCOPED_TRACE(DTypeName(dtype));
    constexpr int64_t kRows = 3;
    constexpr int64_t kCols = 768;
    const std::vector<uint8_t> bytes =
        RandomBlocks(dtype, kRows * kCols / BlockElements(dtype), &rng);
    TensorView matrix{"w", dtype, {kRows, kCols}, bytes.data(), static_cast<int64_t>(bytes.size())};
    std::vector<float> all(kRows * kCols);
    Dequantize(dtype, bytes.data(), kRows * kCols, all.data());
    for (int64_t first_row = 0; first_row < kRows; ++first_row) {
      for (const int64_t first_col : {0, 1, 31, 32, 128, 256, 511}) {
        for (const int64_t cols : {1, 32, 100, 128, 256, 257}) {
          const MatrixRange range{first_row, kRows - first_row, first_col, cols};
          SliceMemory memory;
          MatrixSource source;
          source.tensor = SliceTensor(matrix, range, &memory);
          EXPECT_EQ(source.tensor.bytes, source.tensor.RowBytes() * range.rows);
          const bool whole_blocks =
              first_col % BlockElements(dtype) == 0 && cols % BlockElements(dtype) == 0;
          EXPECT_EQ(source.tensor.dtype, whole_blocks ? dtype : DType::kF32);
          EXPECT_EQ(Values(source), Range(all, kCols, range)) << first_col << " " << cols;
        }
      }
    }
  }
}

TEST(SliceTensorTest, WholeRowsAreAViewAndAMatrixWithoutDataStaysSo) {
  const std::vector<float> values(12);
  const TensorView matrix{"w", DType::kF32, {3, 4}, values.data(), 48};
  SliceMemory memory;
  const TensorView rows = SliceTensor(matrix, {1, 2, 0, 4}, &memory);
  EXPECT_EQ(rows.data, values.data() + 4);
  EXPECT_EQ(rows.bytes, 32);
  const TensorView none{"w", DType::kBf16, {3, 4}, nullptr, 0};
  const TensorView part = SliceTensor(none, {0, 3, 1, 2}, &memory);
  EXPECT_EQ(part.data, nullptr);
  EXPECT_EQ(part.shape, (std::vector<int64_t>{3, 2}));
}

}  // namespace
}  // namespace pingti::worker
