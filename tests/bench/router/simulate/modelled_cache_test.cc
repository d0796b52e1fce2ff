#include "bench/router/simulate/modelled_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace pingti::bench {
namespace {

using Hashes = std::vector<uint64_t>;

TEST(ModelledCache, WhatWasReleasedIsKnownUntilItsRoomIsNeeded) {
  ModelledCache cache(4);
  const Hashes chain = {11, 12, 13};
  cache.LeaseNew(3);
  for (const uint64_t hash : chain) cache.Name(hash);
  EXPECT_EQ(cache.TakeChanges().stored, chain);
  EXPECT_EQ(cache.leased(), 3u);
  cache.Release(chain, 0);
  EXPECT_EQ(cache.available(), 4u);
  EXPECT_EQ(cache.CountKnown(Hashes{11, 12, 99}), 2u);
  cache.LeaseNew(2);
  EXPECT_EQ(cache.TakeChanges().removed, Hashes{13}) << "the end of a chain goes first";
  EXPECT_EQ(cache.CountKnown(chain), 2u);
}

TEST(ModelledCache, SequencesShareKnownBlocks) {
  ModelledCache cache(10);
  cache.LeaseNew(2);
  cache.Name(1);
  cache.Name(2);
  EXPECT_EQ(cache.CountIdle(Hashes{1, 2}), 0u);
  cache.LeaseKnown(Hashes{1, 2});
  EXPECT_EQ(cache.leased(), 2u);
  cache.Release(Hashes{1, 2}, 0);
  EXPECT_EQ(cache.leased(), 2u) << "the other one holds them";
  cache.Release(Hashes{1, 2}, 0);
  EXPECT_EQ(cache.leased(), 0u);
  EXPECT_EQ(cache.CountIdle(Hashes{1, 2}), 2u);
}

TEST(ModelledCache, AnEqualBlockComputedTwiceIsKeptOnce) {
  ModelledCache cache(10);
  cache.LeaseNew(2);
  cache.Name(7);
  cache.Name(7);
  EXPECT_EQ(cache.leased(), 1u);
  EXPECT_EQ(cache.TakeChanges().stored, Hashes{7});
}

}  // namespace
}  // namespace pingti::bench
