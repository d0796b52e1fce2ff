// Against a map by place, with random operations.
#include "worker/model/unread_tokens.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <utility>

namespace pingti::worker {
namespace {

using Place = std::pair<int32_t, int32_t>;

TEST(UnreadTokens, AreWhatWasNotedLastForEachPlace) {
  constexpr int32_t kBlocks = 5;
  constexpr int32_t kBlockTokens = 4;
  std::mt19937 random(11);
  const auto below = [&](int32_t n) {
    return static_cast<int32_t>(random() % static_cast<uint32_t>(n));
  };
  UnreadTokens tokens(kBlocks, kBlockTokens);
  std::map<Place, int32_t> states;
  for (int32_t step = 0; step < 4000; ++step) {
    const Place place{below(kBlocks), below(kBlockTokens)};
    const int32_t kind = below(100);
    if (kind < 50) {
      tokens.Add({place.first, place.second, step, step + 1, step + 2});
      states[place] = step + 2;
    } else if (kind < 98) {
      tokens.Remove(place.first, place.second);
      states.erase(place);
    } else {
      tokens.Clear();
      states.clear();
    }
    std::map<Place, int32_t> left;
    std::map<int32_t, int32_t> in_block;
    for (const UnreadToken& token : tokens.all()) {
      EXPECT_EQ(token.next_token, token.position + 1);
      EXPECT_TRUE(left.emplace(Place{token.block, token.offset}, token.state).second);
      ++in_block[token.block];
    }
    ASSERT_EQ(left, states) << "step " << step;
    ASSERT_EQ(tokens.empty(), states.empty());
    for (int32_t block = 0; block < kBlocks; ++block) {
      ASSERT_EQ(tokens.AnyIn(block), in_block.contains(block)) << "step " << step;
    }
  }
}

TEST(UnreadTokens, OtherBlocksHaveNone) {
  UnreadTokens tokens(2, 4);
  tokens.Add({1, 3, 7, 8, 9});
  for (const int32_t block : {-1, 2, 1000}) {
    EXPECT_FALSE(tokens.AnyIn(block));
    tokens.Remove(block, 3);
  }
  EXPECT_TRUE(tokens.AnyIn(1));
}

}  // namespace
}  // namespace pingti::worker
