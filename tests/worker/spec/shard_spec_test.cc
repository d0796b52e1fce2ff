// That the ranks' shares are the whole decoder, each part of it once, for every small size.
#include "worker/spec/shard_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace pingti::worker {
namespace {

using ::testing::HasSubstr;

TEST(ShareOfTest, SharesFollowEachOtherAndDifferByAtMostOne) {
  for (int64_t total = 0; total <= 20; ++total) {
    for (int size = 1; size <= 8; ++size) {
      int64_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Share share = ShareOf(total, rank, size);
        EXPECT_EQ(share.first, next);
        EXPECT_GE(share.count, total / size);
        EXPECT_LE(share.count, (total + size - 1) / size);
        next += share.count;
      }
      EXPECT_EQ(next, total);
    }
  }
}

TEST(HeadsOfTest, EveryQueryHeadIsOnOneRankBesideItsKeyValueHead) {
  for (int64_t kv_heads = 1; kv_heads <= 9; ++kv_heads) {
    for (int64_t per_kv = 1; per_kv <= 8; ++per_kv) {
      const int64_t heads = kv_heads * per_kv;
      for (int size = 1; size <= heads; ++size) {
        int64_t next = 0;
        for (int rank = 0; rank < size; ++rank) {
          const HeadShare share = HeadsOf(heads, kv_heads, rank, size);
          SCOPED_TRACE(::testing::Message() << heads << " heads, " << kv_heads << " kv heads, rank "
                                            << rank << " of " << size);
          EXPECT_EQ(share.q.first, next);
          ASSERT_GE(share.q.count, 1);
          ASSERT_GE(share.kv.count, 1);
          // Attention takes query head h of the share to read its KV head h / group.
          ASSERT_EQ(share.q.count % share.kv.count, 0);
          const int64_t group = share.q.count / share.kv.count;
          for (int64_t h = 0; h < share.q.count; ++h) {
            EXPECT_EQ(share.kv.first + h / group, (share.q.first + h) / per_kv);
          }
          next += share.q.count;
        }
        EXPECT_EQ(next, heads);
      }
    }
  }
}

TEST(HeadsOfTest, SharesOfUsualSizesAreEqual) {
  for (const int size : {1, 2, 4, 8}) {
    for (int rank = 0; rank < size; ++rank) {
      EXPECT_EQ(HeadsOf(64, 8, rank, size).q.count, 64 / size);
      EXPECT_EQ(HeadsOf(64, 8, rank, size).kv.count, 8 / size);
      EXPECT_EQ(HeadsOf(32, 4, rank, size).q.count, 32 / size);
      EXPECT_EQ(HeadsOf(32, 4, rank, size).kv.count, std::max(1, 4 / size));
    }
  }
}

TEST(InnerUnitTest, KeepsBlocksWholeWhereEveryRankCanHaveOne) {
  for (const int size : {2, 4, 8}) {
    EXPECT_EQ(InnerUnit(29568, 128, size), 128);
    EXPECT_EQ(InnerUnit(14336, 256, size), 256);
    EXPECT_EQ(InnerUnit(1536, 32, size), 128);
  }
  EXPECT_EQ(InnerUnit(160, 32, 4), 32);
  EXPECT_EQ(InnerUnit(96, 32, 2), 32);
  EXPECT_EQ(InnerUnit(512, 256, 2), 256);
  EXPECT_EQ(InnerUnit(512, 256, 4), 128);  // cuts blocks
}

TEST(InnerUnitTest, LeavesNoRankWithoutColumns) {
  for (int64_t inner = 1; inner <= 300; ++inner) {
    for (const int64_t block : {1, 32, 64, 128, 256}) {
      for (int size = 1; size <= std::min<int64_t>(8, inner); ++size) {
        const int64_t unit = InnerUnit(inner, block, size);
        EXPECT_EQ(inner % unit, 0);
        EXPECT_GE(inner / unit, size);
      }
    }
  }
}

DecoderSpec Spec(int64_t heads, int64_t kv_heads, int64_t inner, int64_t vocab) {
  constexpr int64_t kDim = 4;
  DecoderSpec spec;
  spec.hidden_size = 16;
  spec.vocab_size = vocab;
  spec.embedding = "embedding";
  spec.head = "head";
  LayerSpec layer;
  layer.attention.num_heads = heads;
  layer.attention.num_kv_heads = kv_heads;
  layer.attention.head_dim = kDim;
  layer.attention.qkv = StackedModule("qkv", {heads * kDim, kv_heads * kDim, kv_heads * kDim});
  layer.attention.out = "out";
  for (int64_t h = 0; h < heads; ++h) {
    layer.attention.alibi_slopes.push_back(static_cast<float>(h));
  }
  layer.mlp.inner = inner;
  layer.mlp.gate_up = StackedModule("gate_up", {inner, inner});
  layer.mlp.down = "down";
  spec.layers = {layer};
  return spec;
}

// How often each row of a module is taken.
std::vector<int> Count(const std::vector<RowBlock>& blocks, std::vector<int> counts) {
  for (const RowBlock& block : blocks) {
    for (int64_t r = 0; r < block.rows; ++r) ++counts[static_cast<size_t>(block.first + r)];
  }
  return counts;
}

TEST(ShardSpecTest, RanksTogetherTakeEveryRowAndColumnOnceAndKeyValueHeadsWhereTheyAreRead) {
  for (const int size : {2, 3, 4, 5, 8}) {
    const DecoderSpec whole = Spec(9, 3, 232, 101);
    const std::vector<int64_t> blocks = {8};
    std::vector<int> qkv(60), gate_up(464), slopes(9);
    int64_t out = 0, down = 0, tokens = 0;
    for (int rank = 0; rank < size; ++rank) {
      const auto share = ShardSpec(whole, rank, size, blocks);
      ASSERT_TRUE(share.ok()) << share.status();
      const AttentionSpec& attention = share->layers[0].attention;
      const MlpSpec& mlp = share->layers[0].mlp;
      qkv = Count(attention.qkv, std::move(qkv));
      gate_up = Count(mlp.gate_up, std::move(gate_up));
      for (const float slope : attention.alibi_slopes) ++slopes[static_cast<size_t>(slope)];
      EXPECT_EQ(attention.out_columns.first, out);
      EXPECT_EQ(attention.out_columns.total, 36);
      out += attention.num_heads * 4;
      EXPECT_EQ(mlp.down_columns.first, down);
      EXPECT_EQ(mlp.down_columns.total, 232);
      down += mlp.inner;
      ASSERT_TRUE(share->vocabulary_share.has_value());
      EXPECT_EQ(share->vocabulary_share->first, rank * share->vocabulary_share->stride);
      EXPECT_EQ(share->vocabulary_share->first, tokens);
      tokens += share->vocabulary_share->rows;
      EXPECT_EQ(share->vocab_size, 101);
    }
    EXPECT_EQ(out, 36);
    EXPECT_EQ(down, 232);
    EXPECT_EQ(tokens, 101);
    EXPECT_EQ(slopes, std::vector<int>(9, 1));
    EXPECT_EQ(gate_up, std::vector<int>(464, 1));
    for (size_t row = 0; row < 60; ++row) {
      EXPECT_GE(qkv[row], 1) << row;
      if (row < 36 || size <= 3) {
        EXPECT_EQ(qkv[row], 1) << row;
      }
    }
  }
}

// Experts of 8 columns in one module of gates and ups, and a shared one of 232.
DecoderSpec SpecWithExperts(int64_t num_experts) {
  DecoderSpec spec = Spec(9, 3, 232, 101);
  LayerSpec& layer = spec.layers[0];
  ExpertsSpec experts;
  experts.routing.num_experts = num_experts;
  experts.routing.experts_per_token = 3;
  experts.inner = 8;
  experts.gate_up =
      StackedModule("experts", std::vector<int64_t>(static_cast<size_t>(2 * num_experts), 8));
  experts.down = StackedModule("downs", std::vector<int64_t>(static_cast<size_t>(num_experts), 16));
  experts.shared = std::exchange(layer.mlp, {});
  layer.experts = std::move(experts);
  return spec;
}

TEST(ShardSpecTest, RanksTogetherHoldEveryExpertOnceAndShareTheRestByColumns) {
  const std::vector<int64_t> blocks = {8};
  for (int64_t num_experts = 2; num_experts <= 9; ++num_experts) {
    const DecoderSpec whole = SpecWithExperts(num_experts);
    for (int size = 2; size <= num_experts; ++size) {
      SCOPED_TRACE(::testing::Message() << num_experts << " experts, " << size << " ranks");
      std::vector<int> gate_up(static_cast<size_t>(16 * num_experts));
      std::vector<int> down(static_cast<size_t>(16 * num_experts));
      int64_t next = 0;
      int64_t shared = 0;
      for (int rank = 0; rank < size; ++rank) {
        const auto share = ShardSpec(whole, rank, size, blocks, ExpertSplit::kExperts);
        ASSERT_TRUE(share.ok()) << share.status();
        const ExpertsSpec& experts = *share->layers[0].experts;
        EXPECT_EQ(experts.routing.num_experts, num_experts);
        EXPECT_EQ(experts.routing.first_held, next);
        EXPECT_EQ(experts.routing.held(), ShareOf(num_experts, rank, size).count);
        EXPECT_EQ(experts.inner, 8);
        EXPECT_EQ(experts.down_columns.total, 0);  // all of them
        EXPECT_EQ(experts.gate_up.front().first, 16 * next);
        gate_up = Count(experts.gate_up, std::move(gate_up));
        down = Count(experts.down, std::move(down));
        EXPECT_EQ(experts.shared->down_columns.first, shared);
        next += experts.routing.held();
        shared += experts.shared->inner;
      }
      EXPECT_EQ(next, num_experts);
      EXPECT_EQ(shared, 232);
      EXPECT_EQ(gate_up, std::vector<int>(gate_up.size(), 1));
      EXPECT_EQ(down, std::vector<int>(down.size(), 1));
    }
  }
}

TEST(ShardSpecTest, WholeExpertsNeedAnExpertForEachRank) {
  const std::vector<int64_t> blocks = {8};
  const auto error = [&](const DecoderSpec& spec, int size) {
    return std::string(ShardSpec(spec, 0, size, blocks, ExpertSplit::kExperts).status().message());
  };
  EXPECT_EQ(error(SpecWithExperts(5), 5), "");
  EXPECT_THAT(error(SpecWithExperts(5), 6),
              HasSubstr("tensor_parallel is 6: the model has 5 experts; expected 1 to 5"));
  EXPECT_THAT(error(Spec(9, 3, 232, 101), 2),
              HasSubstr("enable_expert_parallel is true: the model has no experts"));
}

TEST(ShardSpecTest, TooManyRanksAreRefusedWithWhatWouldDo) {
  const std::vector<int64_t> blocks = {1};
  const auto error = [&](const DecoderSpec& spec, int size) {
    return std::string(ShardSpec(spec, 0, size, blocks).status().message());
  };
  EXPECT_THAT(error(Spec(4, 2, 64, 96), 8),
              HasSubstr("tensor_parallel is 8: the model has 4 query heads; expected 1 to 4"));
  EXPECT_THAT(error(Spec(8, 2, 6, 96), 8), HasSubstr("6 inner columns of a feed-forward"));
  EXPECT_THAT(error(Spec(8, 2, 64, 9), 8), HasSubstr("a vocabulary of 9 tokens"));
}

}  // namespace
}  // namespace pingti::worker
