// Rows of matrices of every kind of type, by whatever ranges they are read, against their values.
#include "worker/quant/source_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/worker/quant/packed_builder.h"
#include "worker/quant/ggml_blocks.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

using testing::BuildPacked;
using testing::BuiltPacked;

constexpr int kSeed = 11;

// A source, what it stands for in the prepared order, and the memory that it views.
struct Matrix {
  std::string name;
  std::vector<uint8_t> bytes;
  BuiltPacked packed;
  std::vector<float> scales;
  std::vector<float> values;
  MatrixSource source;
};

void MakePlain(DType dtype, int64_t rows, int64_t cols, int64_t heads, std::mt19937* rng,
               Matrix* matrix) {
  std::normal_distribution<float> normal;
  matrix->name = std::string(DTypeName(dtype)) + (heads > 0 ? " of heads" : "");
  const int64_t count = rows * cols;
  matrix->bytes.resize(static_cast<size_t>(count / BlockElements(dtype) * BlockBytes(dtype)));
  if (dtype == DType::kBf16 || dtype == DType::kF16) {
    for (int64_t i = 0; i < count; ++i) {
      const float value = normal(*rng);
      const uint16_t half = dtype == DType::kF16 ? FloatToF16(value) : FloatToBf16(value);
      std::memcpy(&matrix->bytes[static_cast<size_t>(2 * i)], &half, 2);
    }
  } else {
    for (uint8_t& byte : matrix->bytes) byte = static_cast<uint8_t>((*rng)() % 120);
  }
  matrix->source.tensor = {
      "w", dtype, {rows, cols}, matrix->bytes.data(), static_cast<int64_t>(matrix->bytes.size())};
  matrix->source.interleaved_heads = heads;
  std::vector<float> stored(static_cast<size_t>(count));
  Dequantize(dtype, matrix->bytes.data(), count, stored.data());
  if (dtype == DType::kI8) {
    for (int64_t r = 0; r < rows; ++r) {
      const float scale = 0.01f + std::fabs(normal(*rng));
      matrix->source.row_scale.push_back(scale);
      for (int64_t c = 0; c < cols; ++c) stored[static_cast<size_t>(r * cols + c)] *= scale;
    }
  }
  // Element (first half, i) of a head comes from its row 2i, (second half, i) from 2i + 1.
  const int64_t dim = heads > 0 ? rows / heads : rows;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t i = r % dim;
    const int64_t pair = i < dim / 2 ? 2 * i : 2 * (i - dim / 2) + 1;
    const int64_t from = heads > 0 ? r / dim * dim + pair : r;
    matrix->values.insert(matrix->values.end(), stored.begin() + from * cols,
                          stored.begin() + (from + 1) * cols);
  }
}

// Blocks of 7 x 20 of a matrix of which the source is a part.
void MakeFp8(int64_t heads, std::mt19937* rng, Matrix* matrix) {
  MakePlain(DType::kF8E4M3, 24, 64, heads, rng, matrix);
  matrix->name += " in blocks";
  constexpr int64_t kFirstRow = 5;
  constexpr int64_t kFirstCol = 13;
  constexpr int64_t kBlocksPerRow = 5;
  std::uniform_real_distribution<float> scale(0.01f, 2.0f);
  for (int64_t i = 0; i < 6 * kBlocksPerRow; ++i) matrix->scales.push_back(scale(*rng));
  TensorView scales{"w_scale_inv", DType::kF32, {6, kBlocksPerRow}, matrix->scales.data(), 0};
  scales.bytes = static_cast<int64_t>(matrix->scales.size()) * 4;
  matrix->source.block_scales = BlockScales{scales, 7, 20, kFirstRow, kFirstCol};
  for (int64_t r = 0; r < 24; ++r) {
    const int64_t row = kFirstRow + SourceRow(matrix->source, r);
    for (int64_t c = 0; c < 64; ++c) {
      const int64_t block = row / 7 * kBlocksPerRow + (kFirstCol + c) / 20;
      matrix->values[static_cast<size_t>(r * 64 + c)] *= matrix->scales[static_cast<size_t>(block)];
    }
  }
}

std::vector<Matrix> Matrices() {
  std::mt19937 rng(kSeed);
  std::vector<Matrix> matrices;
  matrices.reserve(16);
  for (const DType dtype : {DType::kBf16, DType::kF16, DType::kQ8_0, DType::kQ4_0, DType::kI8}) {
    for (const int64_t heads : {0, 4}) {
      MakePlain(dtype, 24, 64, heads, &rng, &matrices.emplace_back());
    }
  }
  for (const PackedLayout layout :
       {PackedLayout::kGptq, PackedLayout::kAwq, PackedLayout::kRowMajor}) {
    Matrix& matrix = matrices.emplace_back();
    matrix.packed = BuildPacked({layout, 4, 200, 64, 32, true, 0, DType::kF16, 0.02f}, &rng);
    matrix.name = NameOf(matrix.packed.spec);
    matrix.values = matrix.packed.values;
    matrix.source.packed = matrix.packed.View();
    matrix.source.tensor = matrix.source.packed->words;
    matrix.source.tensor.shape = {200, 64};
  }
  for (const int64_t heads : {0, 4}) MakeFp8(heads, &rng, &matrices.emplace_back());
  return matrices;
}

// Some ranges that begin and end anywhere, in an order that goes back as well as on.
std::vector<std::pair<int64_t, int64_t>> Ranges(int64_t rows, std::mt19937* rng) {
  std::vector<std::pair<int64_t, int64_t>> ranges{{0, rows}, {rows - 1, rows}, {0, 1}};
  for (int i = 0; i < 20; ++i) {
    const auto a = static_cast<int64_t>((*rng)() % static_cast<uint32_t>(rows));
    const auto b = static_cast<int64_t>((*rng)() % static_cast<uint32_t>(rows));
    ranges.emplace_back(std::min(a, b), std::max(a, b) + 1);
  }
  return ranges;
}

TEST(SourceRows, AnyRangeReadsItsRowsInThePreparedOrder) {
  std::mt19937 rng(kSeed);
  for (const Matrix& matrix : Matrices()) {
    SCOPED_TRACE(matrix.name);
    ASSERT_TRUE(CheckMatrixSource(matrix.source).ok()) << CheckMatrixSource(matrix.source);
    const int64_t cols = matrix.source.tensor.shape[1];
    SourceRows rows(matrix.source);
    for (const auto& [first, last] : Ranges(matrix.source.tensor.shape[0], &rng)) {
      std::vector<float> f32(static_cast<size_t>((last - first) * cols));
      std::vector<uint16_t> bf16(f32.size());
      std::vector<int8_t> int8(f32.size());
      std::vector<float> scales(static_cast<size_t>(last - first));
      rows.ReadF32(first, last, f32.data());
      rows.ReadBf16(first, last, bf16.data());
      rows.ReadInt8(first, last, int8.data(), scales.data());
      for (size_t i = 0; i < f32.size(); ++i) {
        const float expected = matrix.values[static_cast<size_t>(first * cols) + i];
        const float scale = scales[i / static_cast<size_t>(cols)];
        ASSERT_EQ(f32[i], expected) << "[" << first << ", " << last << ") element " << i;
        ASSERT_EQ(bf16[i], FloatToBf16(expected));
        ASSERT_NEAR(scale * int8[i], expected, scale * 0.5001f);
        if (matrix.source.tensor.dtype == DType::kI8) {
          ASSERT_EQ(scale * int8[i], expected);
        }
      }
    }
  }
}

TEST(SourceRows, RefusesWhatDoesNotFitByName) {
  const std::vector<Matrix> matrices = Matrices();
  const auto code = [](MatrixSource source, const auto& change) {
    change(&source);
    const absl::Status status = CheckMatrixSource(source);
    EXPECT_NE(status.message().find("'w"), std::string::npos) << status;
    return status.code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const MatrixSource& plain = matrices[0].source;
  EXPECT_EQ(code(plain, [](MatrixSource* m) { m->tensor.shape = {24, 64, 1}; }), kInvalid);
  EXPECT_EQ(code(plain, [](MatrixSource* m) { m->row_scale = {1.0f}; }), kInvalid);
  EXPECT_EQ(code(plain, [](MatrixSource* m) { m->interleaved_heads = 5; }), kInvalid);
  EXPECT_EQ(code(plain, [](MatrixSource* m) { m->tensor.dtype = DType::kI64; }),
            absl::StatusCode::kUnimplemented);
  EXPECT_EQ(code(matrices[4].source, [](MatrixSource* m) { m->tensor.shape[1] = 48; }), kInvalid);
  EXPECT_EQ(code(matrices[8].source, [](MatrixSource* m) { m->row_scale.pop_back(); }), kInvalid);
  EXPECT_EQ(code(matrices[10].source, [](MatrixSource* m) { m->interleaved_heads = 2; }), kInvalid);
  EXPECT_EQ(code(matrices[10].source, [](MatrixSource* m) { m->tensor.shape[0] = 8; }), kInvalid);
}

TEST(SourceRows, ScalesOfBlocksMustCoverTheMatrixAndBelongToEightBitFloats) {
  const std::vector<Matrix> matrices = Matrices();
  const auto error = [](MatrixSource source, const auto& change) {
    change(&source);
    return std::string(CheckMatrixSource(source).message());
  };
  const MatrixSource& fp8 = matrices.back().source;
  EXPECT_EQ(error(fp8, [](MatrixSource*) {}), "");
  const auto contains = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_TRUE(contains(error(fp8, [](MatrixSource* m) { m->block_scales.reset(); }),
                       "'w' F8_E4M3 [24, 64]: expected scales of its blocks"));
  // The last row, and the last column, lie in the last block.
  for (const auto& change :
       {+[](BlockScales* b) { b->first_row = 19; }, +[](BlockScales* b) { b->first_col = 37; },
        +[](BlockScales* b) { b->block_rows = 4; },
        +[](BlockScales* b) { b->scales.dtype = DType::kI64; }}) {
    EXPECT_TRUE(contains(error(fp8, [&](MatrixSource* m) { change(&*m->block_scales); }),
                         "do not cover it"));
  }
  EXPECT_EQ(error(fp8, [](MatrixSource* m) { m->block_scales->first_row = 18; }), "");
  EXPECT_EQ(error(fp8, [](MatrixSource* m) { m->block_scales->first_col = 36; }), "");
  EXPECT_TRUE(contains(
      error(matrices[0].source, [&](MatrixSource* m) { m->block_scales = fp8.block_scales; }),
      "has scales of blocks"));
}

TEST(SourceRows, RandomWeightsNeedNoScales) {
  MatrixSource source;
  source.tensor = {"w", DType::kI8, {8, 16}, nullptr, 0};
  EXPECT_TRUE(CheckMatrixSource(source).ok());
}

}  // namespace
}  // namespace pingti::worker
