#include "router/registry/prefix_index.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

namespace pingti::router {
namespace {

KvEvents Stored(uint64_t first_id, std::vector<uint64_t> hashes) {
  return {first_id, {{KvEvent::Kind::kStored, std::move(hashes)}}};
}

TEST(PrefixIndex, CountsTheLongestKnownBeginning) {
  PrefixIndex index(100);
  index.Apply(Stored(1, {10, 11, 13}));
  EXPECT_EQ(index.CountLeading(std::vector<uint64_t>{10, 11, 12, 13}), 2u);
  EXPECT_EQ(index.CountLeading(std::vector<uint64_t>{9, 10}), 0u);
  EXPECT_EQ(index.CountLeading({}), 0u);
}

TEST(PrefixIndex, RemovedAndClearedBlocksAreForgotten) {
  PrefixIndex index(100);
  index.Apply(Stored(1, {10, 11}));
  index.Apply({2, {{KvEvent::Kind::kRemoved, {11}}}});
  EXPECT_EQ(index.CountLeading(std::vector<uint64_t>{10, 11}), 1u);
  index.Apply({3, {{KvEvent::Kind::kCleared}}});
  EXPECT_EQ(index.size(), 0u);
}

TEST(PrefixIndex, AGapForgetsWhatWasKnown) {
  PrefixIndex index(100);
  index.Apply(Stored(1, {10}));
  index.Apply(Stored(2, {11}));
  EXPECT_EQ(index.size(), 2u);
  index.Apply(Stored(4, {12}));
  EXPECT_EQ(index.CountLeading(std::vector<uint64_t>{10}), 0u);
  EXPECT_EQ(index.CountLeading(std::vector<uint64_t>{12}), 1u);
}

TEST(PrefixIndex, NeverHoldsMoreThanItsBound) {
  PrefixIndex index(3);
  index.Apply(Stored(1, {1, 2, 3, 4, 5}));
  EXPECT_EQ(index.size(), 3u);
  index.Add(std::vector<uint64_t>{6});
  EXPECT_EQ(index.size(), 3u);
  index.Apply({2, {{KvEvent::Kind::kRemoved, {1}}}});
  index.Add(std::vector<uint64_t>{6});
  EXPECT_EQ(index.CountLeading(std::vector<uint64_t>{6}), 1u);
}

// Random events against a plain set.
TEST(PrefixIndex, EqualsASetOfWhatWasStoredAndNotRemoved) {
  std::mt19937_64 random(7);
  PrefixIndex index(1000);
  std::set<uint64_t> expected;
  uint64_t id = 1;
  for (int i = 0; i < 2000; ++i) {
    KvEvents events{id, {}};
    for (uint64_t k = 1 + random() % 3; k > 0; --k) {
      const uint64_t hash = 1 + random() % 200;
      if (random() % 2 == 0) {
        events.events.push_back({KvEvent::Kind::kStored, {hash}});
        expected.insert(hash);
      } else {
        events.events.push_back({KvEvent::Kind::kRemoved, {hash}});
        expected.erase(hash);
      }
      ++id;
    }
    index.Apply(events);
    ASSERT_EQ(index.size(), expected.size());
    const uint64_t probe = 1 + random() % 200;
    ASSERT_EQ(index.CountLeading(std::vector<uint64_t>{probe}), expected.count(probe));
  }
}

}  // namespace
}  // namespace pingti::router
