// Packed layouts against values that were packed one by one (packed_builder.h), and what is
// refused.
#include "worker/quant/packed_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "tests/worker/quant/packed_builder.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

using ::testing::AllOf;
using testing::BuildPacked;
using testing::BuiltPacked;
using ::testing::HasSubstr;
using testing::PackedSpec;

constexpr int kSeed = 7;

std::vector<PackedSpec> Specs() {
  std::vector<PackedSpec> specs;
  for (const PackedLayout layout :
       {PackedLayout::kGptq, PackedLayout::kAwq, PackedLayout::kRowMajor}) {
    for (const int bits : {4, 8}) {
      if (layout == PackedLayout::kAwq && bits == 8) continue;
      for (const bool zeros : {false, true}) {
        for (const int64_t group : {32, 64, 128, 384, 200}) {
          // Rows and columns that fill neither a tile nor, with groups of 384, a group.
          specs.push_back({layout, bits, 136, 200, group, zeros, zeros && bits == 4 ? 1 : 0,
                           group == 64 ? DType::kBf16 : DType::kF16, 0.02f});
        }
      }
    }
  }
  specs.push_back({PackedLayout::kRowMajor, 4, 5, 29, 29, false, 0, DType::kBf16, 0.02f});
  specs.push_back({PackedLayout::kRowMajor, 8, 3, 70, 32, false, 0, DType::kF16, 0.02f});
  return specs;
}

// The whole matrix, `tile_rows` at a time.
std::vector<float> ReadAll(const PackedWeights& weights, int64_t tile_rows) {
  std::vector<float> values(static_cast<size_t>(weights.rows * weights.cols), NAN);
  PackedTile tile;
  for (int64_t first = 0; first < weights.rows; first += tile_rows) {
    ReadPackedTile(weights, first, std::min(tile_rows, weights.rows - first), &tile);
    for (int64_t row = 0; row < tile.rows; ++row) {
      DequantizeTileRow(weights, tile, row, values.data() + (first + row) * weights.cols);
    }
  }
  return values;
}

TEST(PackedReaderTest, EveryLayoutGivesTheValuesThatWerePacked) {
  std::mt19937 rng(kSeed);
  for (const PackedSpec& spec : Specs()) {
    SCOPED_TRACE(NameOf(spec));
    const BuiltPacked built = BuildPacked(spec, &rng);
    const PackedWeights weights = built.View();
    ASSERT_TRUE(CheckPacked(weights).ok()) << CheckPacked(weights);
    // Tiles need not begin at a word's rows.
    for (const int64_t tile_rows : {kPackedTileRows, int64_t{16}, int64_t{3}}) {
      ASSERT_EQ(ReadAll(weights, tile_rows), built.values) << tile_rows << " rows a tile";
    }
  }
}

TEST(PackedReaderTest, ZerosInTheMiddleAreSeen) {
  std::mt19937 rng(kSeed);
  for (PackedSpec spec : Specs()) {
    if (!spec.has_zeros) continue;
    SCOPED_TRACE(NameOf(spec));
    BuiltPacked built = BuildPacked(spec, &rng);
    EXPECT_FALSE(ZerosAreMidpoints(built.View()));
    const uint32_t stored = (spec.bits == 4 ? 8u : 128u) - static_cast<uint32_t>(spec.zero_offset);
    std::fill(built.zeros.begin(), built.zeros.end(),
              stored * (spec.bits == 4 ? 0x11111111u : 0x01010101u));
    EXPECT_TRUE(ZerosAreMidpoints(built.View()));
    built.zeros.back() ^= 1u << 31;
    EXPECT_FALSE(ZerosAreMidpoints(built.View()));
  }
}

TEST(PackedReaderTest, GroupsOutOfOrderAreSeen) {
  std::vector<int32_t> index(256);
  for (size_t i = 0; i < index.size(); ++i) index[i] = static_cast<int32_t>(i / 64);
  const TensorView view{"g_idx", DType::kI32, {256}, index.data(), 1024};
  EXPECT_TRUE(GroupsAreInOrder(view, 64));
  EXPECT_FALSE(GroupsAreInOrder(view, 32));
  std::swap(index[63], index[64]);
  EXPECT_FALSE(GroupsAreInOrder(view, 64));
}

// A matrix whose columns lie in another order, and an index that says whose group each is of, has
// the values of the matrix in order with its columns exchanged.
TEST(PackedReaderTest, ColumnsInAnyOrderHaveTheirOwnGroups) {
  std::mt19937 rng(kSeed);
  BuiltPacked built =
      BuildPacked({PackedLayout::kGptq, 4, 16, 128, 32, true, 1, DType::kF16, 0.02f}, &rng);
  std::vector<int32_t> order(128), index(128);
  for (size_t k = 0; k < order.size(); ++k) order[k] = static_cast<int32_t>(k);
  std::shuffle(order.begin(), order.end(), rng);
  BuiltPacked moved = built;
  std::fill(moved.words.begin(), moved.words.end(), 0u);
  for (size_t k = 0; k < order.size(); ++k) {
    const auto from = static_cast<size_t>(order[k]);
    index[k] = order[k] / 32;
    for (size_t row = 0; row < 16; ++row) {
      const uint32_t q = (built.words[from / 8 * 16 + row] >> (4 * (from % 8))) & 15u;
      moved.words[k / 8 * 16 + row] |= q << (4 * (k % 8));
    }
  }
  PackedWeights weights = moved.View();
  weights.group_index = {"w.g_idx", DType::kI32, {128}, index.data(), 512};
  const std::vector<float> values = ReadAll(weights, 16);
  for (size_t row = 0; row < 16; ++row) {
    for (size_t k = 0; k < order.size(); ++k) {
      EXPECT_EQ(values[row * 128 + k], built.values[row * 128 + static_cast<size_t>(order[k])]);
    }
  }
}

TEST(PackedReaderTest, ScalesThatOverflowF16AreSeen) {
  std::mt19937 rng(kSeed);
  BuiltPacked built =
      BuildPacked({PackedLayout::kRowMajor, 4, 8, 64, 32, false, 0, DType::kBf16, 0.02f}, &rng);
  EXPECT_TRUE(ScalesFitF16(built.View()));
  built.scales[5] = FloatToBf16(5000.0f);  // 15 steps of it are more than 65504
  EXPECT_FALSE(ScalesFitF16(built.View()));
  built.scales[5] = FloatToBf16(NAN);
  EXPECT_FALSE(ScalesFitF16(built.View()));
}

class PackedRefusalTest : public ::testing::Test {
 protected:
  PackedRefusalTest() {
    std::mt19937 rng(kSeed);
    built_ = BuildPacked({PackedLayout::kGptq, 4, 64, 128, 32, true, 1, DType::kF16, 0.02f}, &rng);
    weights_ = built_.View();
  }
  std::string Error() const { return std::string(CheckPacked(weights_).message()); }

  BuiltPacked built_;
  PackedWeights weights_;
};

TEST_F(PackedRefusalTest, TensorsOfAnotherShapeAreNamedWithTheExpectedOne) {
  weights_.words.shape = {64, 16};
  EXPECT_EQ(Error(), "tensor 'w.words' I32 [64, 16]: expected shape [16, 64]");
  weights_ = built_.View();
  weights_.scales.shape = {64, 4};
  EXPECT_EQ(Error(), "tensor 'w.scales' F16 [64, 4]: expected shape [4, 64]");
  weights_ = built_.View();
  weights_.zeros.shape = {4, 64};
  EXPECT_EQ(Error(), "tensor 'w.zeros' I32 [4, 64]: expected shape [4, 8]");
}

TEST_F(PackedRefusalTest, TensorsOfAnotherTypeOrSizeAreNamed) {
  weights_.words.dtype = DType::kU8;
  EXPECT_EQ(Error(), "tensor 'w.words' U8 [16, 64]: expected I32 [16, 64]");
  weights_ = built_.View();
  weights_.scales.dtype = DType::kF32;
  EXPECT_EQ(Error(), "tensor 'w.scales' F32 [4, 64]: expected F16 or BF16 [4, 64]");
  weights_ = built_.View();
  weights_.words.bytes -= 4;
  EXPECT_EQ(Error(), "tensor 'w.words' I32 [16, 64]: 4092 bytes of data; expected 4096");
  weights_ = built_.View();
  weights_.scales.data = nullptr;
  EXPECT_THAT(Error(), HasSubstr("tensor 'w.scales'"));
}

TEST_F(PackedRefusalTest, FormsThatNothingReadsAreNamed) {
  weights_.bits = 3;
  EXPECT_THAT(Error(), AllOf(HasSubstr("'w.words'"), HasSubstr("3 bits")));
  weights_ = built_.View();
  weights_.group_size = 48;
  EXPECT_THAT(Error(), HasSubstr("group size 48; expected 32, 64, a multiple of 128"));
  weights_.group_size = 0;
  EXPECT_THAT(Error(), HasSubstr("group size 0"));
  weights_ = built_.View();
  weights_.cols = 124;
  EXPECT_THAT(Error(), HasSubstr("124 columns; expected a multiple of 8"));
  weights_ = built_.View();
  weights_.rows = 60;
  EXPECT_THAT(Error(), HasSubstr("60 rows; expected a multiple of 8"));
  weights_.rows = 0;
  EXPECT_THAT(Error(), HasSubstr("is no matrix"));
  weights_ = built_.View();
  weights_.layout = PackedLayout::kAwq;
  weights_.bits = 8;
  EXPECT_THAT(Error(), HasSubstr("of AWQ 4"));
}

}  // namespace
}  // namespace pingti::worker
