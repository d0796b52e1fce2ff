// The index against a search of the whole text.
#include "worker/speculation/ngram_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace pingti::worker {
namespace {

NgramIndex::Match Naive(std::span<const int32_t> tokens) {
  NgramIndex::Match best;
  for (size_t end = tokens.size() - 1; end >= NgramIndex::kShortest; --end) {
    int32_t length = 0;
    while (length < NgramIndex::kLongest && static_cast<size_t>(length) < end &&
           tokens[end - 1 - length] == tokens[tokens.size() - 1 - length]) {
      ++length;
    }
    if (length >= NgramIndex::kShortest && length > best.length) {
      best = {static_cast<int32_t>(end), length};
    }
  }
  return best;
}

TEST(NgramIndex, FindsTheLongestEarlierPlaceAndOfEquallyLongOnesTheNewest) {
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    const auto vocabulary = 2 + random() % 6;
    NgramIndex index;
    std::vector<int32_t> tokens;
    // So short that no chain is longer than what is visited.
    for (int i = 0; i < NgramIndex::kMostVisits; ++i) {
      // One token at a time, or several, as drafts that stand come.
      const auto count = 1 + random() % 2;
      for (size_t j = 0; j < count && tokens.size() < NgramIndex::kMostVisits; ++j) {
        tokens.push_back(static_cast<int32_t>(random() % vocabulary));
      }
      index.Extend(tokens);
      const NgramIndex::Match found = index.FindLongest(tokens);
      const NgramIndex::Match expected = tokens.size() > 3 ? Naive(tokens) : NgramIndex::Match();
      ASSERT_EQ(found.length, expected.length) << "seed " << seed << ", " << tokens.size();
      ASSERT_EQ(found.end, expected.end) << "seed " << seed << ", " << tokens.size();
    }
  }
}

TEST(NgramIndex, AMatchIsAtMostSoLong) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < 2 * 100; ++i) tokens.push_back(i % 100);
  NgramIndex index;
  index.Extend(tokens);
  EXPECT_EQ(index.FindLongest(tokens).length, NgramIndex::kLongest);
  EXPECT_EQ(index.FindLongest(tokens).end, 100);
}

TEST(NgramIndex, IdsOfManyBitsThatShareAKeyAreToldApart) {
  // The two differ in bits that the key mixes with a neighbour's.
  const std::vector<int32_t> tokens = {1, (1 << 21) | 5, 7, 9, 1 ^ 1, 5, 7};
  NgramIndex index;
  index.Extend(tokens);
  EXPECT_EQ(index.FindLongest(tokens).length, 0);
}

}  // namespace
}  // namespace pingti::worker
