// Block states, leases and eviction order, and random operations against a naive model.
#include "worker/cache/block_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <type_traits>
#include <vector>

namespace pingti::worker {
namespace {

class Recorder : public EvictionListener {
 public:
  void OnEvict(BlockId block) override { evicted.push_back(block); }
  std::vector<BlockId> evicted;
};

TEST(BlockPool, LeasesAreMoveOnly) {
  static_assert(!std::is_copy_constructible_v<BlockLease>);
  static_assert(std::is_nothrow_move_constructible_v<BlockLease>);
  BlockPool pool(2);
  BlockLease a = pool.Allocate();
  BlockLease b = std::move(a);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(pool.leased(), 1);
  b = pool.Allocate();
  EXPECT_EQ(pool.leased(), 1) << "assignment gives the old block back";
  b.Release();
  EXPECT_EQ(pool.free(), 2);
}

TEST(BlockPool, RunningOutGivesAnEmptyLease) {
  BlockPool pool(1);
  const BlockLease a = pool.Allocate();
  EXPECT_TRUE(pool.Allocate().empty());
  EXPECT_TRUE(pool.CheckInvariants().ok());
}

TEST(BlockPool, WhatIsEvictedIsFreeAndKeptNoMore) {
  Recorder recorder;
  BlockPool pool(3, &recorder);
  std::vector<BlockId> blocks;
  {
    std::vector<BlockLease> leases;
    for (int i = 0; i < 3; ++i) {
      leases.push_back(pool.Allocate());
      blocks.push_back(leases.back().block());
      pool.SetKeep(blocks.back(), true);
    }
  }
  EXPECT_EQ(pool.cached(), 3);
  pool.EvictAll();
  EXPECT_EQ(pool.free(), 3);
  EXPECT_EQ(recorder.evicted.size(), 3u);
  for (const BlockId block : blocks) EXPECT_FALSE(pool.kept(block)) << block;
  EXPECT_TRUE(pool.CheckInvariants().ok()) << pool.CheckInvariants();
}

TEST(BlockPool, ASharedBlockLivesUntilItsLastLease) {
  BlockPool pool(1);
  BlockLease a = pool.Allocate();
  BlockLease b = a.Share();
  a.Release();
  EXPECT_EQ(pool.leased(), 1);
  b.Release();
  EXPECT_EQ(pool.free(), 1);
}

TEST(BlockPool, KeptBlocksAreEvictedInOrderOfRelease) {
  Recorder recorder;
  BlockPool pool(3, &recorder);
  std::vector<BlockLease> leases;
  for (int i = 0; i < 3; ++i) {
    leases.push_back(pool.Allocate());
    pool.SetKeep(leases.back().block(), true);
  }
  const BlockId first = leases[1].block();
  const BlockId second = leases[0].block();
  leases[1].Release();
  leases[0].Release();
  EXPECT_EQ(pool.cached(), 2);
  const BlockLease again = pool.Allocate();
  EXPECT_EQ(again.block(), first);
  EXPECT_EQ(recorder.evicted, std::vector<BlockId>{first});
  // A lease on a cached block saves it from eviction.
  const BlockLease saved = pool.Lease(second);
  EXPECT_TRUE(pool.Allocate().empty());
  EXPECT_TRUE(pool.CheckInvariants().ok());
}

// The naive model: a set of free blocks, a list of cached ones, a count per leased one.
TEST(BlockPool, RandomOperationsMatchANaiveModel) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Recorder recorder;
    const int total = 1 + static_cast<int>(random() % 12);
    BlockPool pool(total, &recorder);
    std::vector<BlockLease> leases;
    std::map<BlockId, int> refs;
    std::set<BlockId> kept;
    std::deque<BlockId> cached;
    for (int op = 0; op < 2000; ++op) {
      switch (random() % 5) {
        case 0: {
          BlockLease lease = pool.Allocate();
          const bool none_left = static_cast<int>(refs.size()) == total;
          ASSERT_EQ(lease.empty(), none_left);
          if (none_left) break;
          ASSERT_EQ(refs.count(lease.block()), 0u) << "handed out twice";
          if (static_cast<int>(refs.size() + cached.size()) == total) {
            ASSERT_EQ(lease.block(), cached.front());
            ASSERT_EQ(recorder.evicted.back(), cached.front());
            cached.pop_front();
          }
          kept.erase(lease.block());
          refs[lease.block()] = 1;
          leases.push_back(std::move(lease));
          break;
        }
        case 1:
        case 2: {
          if (leases.empty()) break;
          const size_t i = random() % leases.size();
          const BlockId block = leases[i].block();
          leases.erase(leases.begin() + static_cast<ptrdiff_t>(i));
          if (--refs[block] > 0) break;
          refs.erase(block);
          if (kept.count(block) > 0) cached.push_back(block);
          break;
        }
        case 3: {
          if (leases.empty()) break;
          const BlockId block = leases[random() % leases.size()].block();
          const bool keep = random() % 2 == 0;
          pool.SetKeep(block, keep);
          keep ? (void)kept.insert(block) : (void)kept.erase(block);
          break;
        }
        default: {
          if (refs.size() + cached.size() == 0) break;
          const bool from_cache = !cached.empty() && random() % 2 == 0;
          if (!from_cache && refs.empty()) break;
          const BlockId block = from_cache ? cached[random() % cached.size()]
                                           : leases[random() % leases.size()].block();
          leases.push_back(pool.Lease(block));
          ++refs[block];
          cached.erase(std::remove(cached.begin(), cached.end(), block), cached.end());
        }
      }
      ASSERT_EQ(pool.leased(), static_cast<int>(refs.size()));
      ASSERT_EQ(pool.cached(), static_cast<int>(cached.size()));
      ASSERT_TRUE(pool.CheckInvariants().ok()) << pool.CheckInvariants().ToString();
    }
  }
}

}  // namespace
}  // namespace pingti::worker
