// Which rows of a module a weight takes, and in which order.
#include "worker/spec/weight_spec.h"

#include <gtest/gtest.h>

#include <set>

namespace pingti::worker {
namespace {

std::vector<int64_t> RowsInOrder(const std::vector<RowBlock>& parts) {
  WeightSpec weight;
  weight.parts = parts;
  std::vector<int64_t> rows;
  for (const RowBlock& block : JoinedParts(weight)) {
    const int64_t step = block.run == 0 ? 1 : block.stride;  // only runs of one row are left
    EXPECT_LE(block.run, 1);
    for (int64_t r = 0; r < block.rows; ++r) rows.push_back(block.first + r * step);
  }
  return rows;
}

TEST(WeightSpecTest, AGroupedModuleGivesTheFirstBlocksOfAllGroupsThenTheNext) {
  // Two groups of rows a a b c.
  EXPECT_EQ(RowsInOrder(GroupedModule("m", 2, {2, 1, 1})),
            (std::vector<int64_t>{0, 1, 4, 5, 2, 6, 3, 7}));
}

TEST(WeightSpecTest, AGroupedModuleTakesEveryRowOnce) {
  for (int64_t groups = 1; groups <= 5; ++groups) {
    for (int64_t q = 1; q <= 4; ++q) {
      const std::vector<RowBlock> blocks = GroupedModule("m", groups, {q, 1, 1});
      const std::vector<int64_t> rows = RowsInOrder(blocks);
      const std::set<int64_t> distinct(rows.begin(), rows.end());
      EXPECT_EQ(distinct.size(), rows.size());
      EXPECT_EQ(static_cast<int64_t>(rows.size()), groups * (q + 2));
      EXPECT_EQ(*distinct.rbegin(), groups * (q + 2) - 1);
      // A part for each block of a group, so that ranks can share the groups.
      ASSERT_EQ(blocks.size(), 3u);
      for (const RowBlock& block : blocks) EXPECT_EQ(block.module_rows, groups * (q + 2));
      EXPECT_EQ(blocks[0].rows, groups * q);
    }
  }
}

TEST(WeightSpecTest, OneGroupIsAStackAndIsReadAtOnce) {
  WeightSpec weight;
  weight.parts = GroupedModule("m", 1, {5, 2, 2});
  ASSERT_EQ(JoinedParts(weight).size(), 1u);
  EXPECT_EQ(JoinedParts(weight)[0].rows, 9);
  weight.parts = GroupedModule("m", 3, {5, 2, 2});
  EXPECT_EQ(JoinedParts(weight).size(), 9u);
}

TEST(WeightSpecTest, ASliceHasTheRowsOfTheStackInOrder) {
  std::vector<std::vector<RowBlock>> stacks = {
      {WholeModule("m", 12)}, StackedModule("m", {4, 3, 5}), GroupedModule("m", 3, {4, 2, 1})};
  for (const std::vector<RowBlock>& stack : stacks) {
    const std::vector<int64_t> all = RowsInOrder(stack);
    const auto total = static_cast<int64_t>(all.size());
    for (int64_t first = 0; first <= total; ++first) {
      for (int64_t count = 0; first + count <= total; ++count) {
        const std::vector<RowBlock> slice = SliceRows(stack, first, count);
        EXPECT_EQ(RowsInOrder(slice),
                  std::vector<int64_t>(all.begin() + first, all.begin() + first + count))
            << first << " " << count;
        for (const RowBlock& block : slice) EXPECT_EQ(block.module_rows, stack[0].module_rows);
      }
    }
  }
}

TEST(WeightSpecTest, ASliceOfInterleavedHeadsIsThoseHeads) {
  const std::vector<RowBlock> slice = SliceRows({WholeModule("q", 32, 4)}, 8, 16);
  ASSERT_EQ(slice.size(), 1u);
  EXPECT_EQ(slice[0].first, 8);
  EXPECT_EQ(slice[0].rows, 16);
  EXPECT_EQ(slice[0].interleaved_heads, 2);
}

TEST(WeightSpecTest, AConstantHasNoRowsInACheckpoint) {
  WeightSpec weight;
  weight.constant = {1.0f, 2.0f};
  EXPECT_EQ(weight.num_values(), 0);
  EXPECT_TRUE(JoinedParts(weight).empty());
}

}  // namespace
}  // namespace pingti::worker
