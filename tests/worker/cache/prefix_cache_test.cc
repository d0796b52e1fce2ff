// Prefix sharing: hits are verified, salts separate, eviction forgets, events tell it all.
#include "worker/cache/prefix_cache.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "common/base/block_hash.h"

namespace pingti::worker {
namespace {

constexpr int32_t kBlockTokens = 4;

struct Chain {
  std::vector<BlockLease> leases;
  ChainLink link;
};

std::vector<uint64_t> Hashes(const std::vector<int32_t>& tokens, std::string_view salt) {
  std::vector<uint64_t> hashes;
  uint64_t hash = BlockHashSeed(salt);
  for (size_t i = 0; i + kBlockTokens <= tokens.size(); i += kBlockTokens) {
    hash = ChainBlockHash(hash, std::span(tokens).subspan(i, kBlockTokens));
    hashes.push_back(hash);
  }
  return hashes;
}

// How many blocks of `tokens` are found.
int CountHits(const PrefixCache& cache, const std::vector<int32_t>& tokens, std::string_view salt) {
  const auto hashes = Hashes(tokens, salt);
  ChainLink link;
  int hits = 0;
  while (
      hits < static_cast<int>(hashes.size()) &&
      cache.Find(link, hashes[hits],
                 std::span(tokens).subspan(static_cast<size_t>(hits) * kBlockTokens, kBlockTokens),
                 salt, &link) != kNoBlock) {
    ++hits;
  }
  return hits;
}

// Computes and stores all full blocks of `tokens`.
Chain StoreAll(PrefixCache* cache, const std::vector<int32_t>& tokens, std::string_view salt) {
  Chain chain;
  const auto hashes = Hashes(tokens, salt);
  for (size_t i = 0; i < hashes.size(); ++i) {
    chain.leases.push_back(cache->pool().Allocate());
    EXPECT_FALSE(chain.leases.back().empty());
    EXPECT_TRUE(cache->Store(chain.link, hashes[i],
                             std::span(tokens).subspan(i * kBlockTokens, kBlockTokens), salt,
                             &chain.leases.back(), &chain.link));
  }
  return chain;
}

void ReleaseTailFirst(Chain* chain) {
  while (!chain->leases.empty()) chain->leases.pop_back();
}

TEST(PrefixCache, FindsACommonBeginningAndNoMore) {
  PrefixCache cache(8, kBlockTokens);
  const Chain chain = StoreAll(&cache, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, "");
  EXPECT_EQ(CountHits(cache, {1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9}, ""), 2);
  EXPECT_EQ(CountHits(cache, {5, 6, 7, 8}, ""), 0) << "a block is known by all that precedes it";
}

TEST(PrefixCache, SaltsNeverShare) {
  PrefixCache cache(8, kBlockTokens);
  const Chain chain = StoreAll(&cache, {1, 2, 3, 4}, "tenant-a");
  EXPECT_EQ(CountHits(cache, {1, 2, 3, 4}, "tenant-a"), 1);
  EXPECT_EQ(CountHits(cache, {1, 2, 3, 4}, "tenant-b"), 0);
  EXPECT_EQ(CountHits(cache, {1, 2, 3, 4}, ""), 0);
}

TEST(PrefixCache, AHashCollisionIsNoHit) {
  PrefixCache cache(8, kBlockTokens);
  const std::vector<int32_t> stored = {1, 2, 3, 4};
  const std::vector<int32_t> other = {4, 3, 2, 1};
  BlockLease lease = cache.pool().Allocate();
  ChainLink link;
  ASSERT_TRUE(cache.Store({}, 77, stored, "", &lease, &link));
  EXPECT_NE(cache.Find({}, 77, stored, "", nullptr), kNoBlock);
  EXPECT_EQ(cache.Find({}, 77, other, "", nullptr), kNoBlock) << "other tokens";
  EXPECT_EQ(cache.Find({}, 77, stored, "x", nullptr), kNoBlock) << "another salt";
  EXPECT_EQ(cache.Find(link, 77, stored, "", nullptr), kNoBlock) << "another parent";
  BlockLease second = cache.pool().Allocate();
  EXPECT_FALSE(cache.Store({}, 77, other, "", &second, &link));
  EXPECT_TRUE(cache.CheckInvariants().ok());
}

TEST(PrefixCache, AnEqualBlockIsExchangedForTheKnownOne) {
  PrefixCache cache(4, kBlockTokens);
  const Chain first = StoreAll(&cache, {1, 2, 3, 4}, "");
  const Chain second = StoreAll(&cache, {1, 2, 3, 4}, "");
  EXPECT_EQ(first.leases[0].block(), second.leases[0].block());
  EXPECT_EQ(cache.pool().leased(), 1);
}

TEST(PrefixCache, EvictsEndsOfChainsBeforeTheirBeginnings) {
  PrefixCache cache(3, kBlockTokens);
  Chain chain = StoreAll(&cache, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, "");
  ReleaseTailFirst(&chain);
  EXPECT_EQ(CountHits(cache, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, ""), 3);
  const BlockLease other = cache.pool().Allocate();
  EXPECT_EQ(CountHits(cache, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, ""), 2);
}

TEST(PrefixCache, EventsTellWhatWasStoredAndRemoved) {
  PrefixCache cache(2, kBlockTokens);
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  const auto hashes = Hashes(tokens, "");
  Chain chain = StoreAll(&cache, tokens, "");
  ASSERT_EQ(cache.events().size(), 2u);
  EXPECT_EQ(cache.events()[0].parent_hash, 0u);
  EXPECT_EQ(cache.events()[0].hash, hashes[0]);
  EXPECT_EQ(cache.events()[1].parent_hash, hashes[0]);
  cache.ClearEvents();
  ReleaseTailFirst(&chain);
  cache.EvictAll();
  ASSERT_EQ(cache.events().size(), 2u);
  EXPECT_EQ(cache.events()[0].kind, CacheEvent::Kind::kRemoved);
  EXPECT_EQ(cache.events()[0].hash, hashes[1]);
}

// The naive model: a map from the text of a prefix (with salt) to its block's content. A router
// that follows the events must know exactly the same prefixes.
TEST(PrefixCache, RandomOperationsMatchANaiveModelAndItsEvents) {
  for (uint32_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    PrefixCache cache(10, kBlockTokens);
    std::map<uint64_t, bool> index;  // as a router keeps it
    std::map<uint64_t, uint64_t> parent_of;
    std::vector<Chain> live;
    for (int op = 0; op < 600; ++op) {
      // Few tokens, so that prefixes are often shared.
      const size_t num_blocks = 1 + random() % 3;
      std::vector<int32_t> tokens;
      for (size_t i = 0; i < num_blocks * kBlockTokens; ++i) {
        tokens.push_back(i % kBlockTokens == 0 ? static_cast<int32_t>(random() % 2) : 0);
      }
      const std::string salt = random() % 4 == 0 ? "s" : "";
      if (random() % 2 == 0 && cache.pool().available() >= 6) {
        live.push_back(StoreAll(&cache, tokens, salt));
      } else if (!live.empty()) {
        const size_t i = random() % live.size();
        ReleaseTailFirst(&live[i]);
        live.erase(live.begin() + static_cast<ptrdiff_t>(i));
      }
      for (const CacheEvent& event : cache.events()) {
        const bool stored = event.kind == CacheEvent::Kind::kStored;
        ASSERT_NE(index[event.hash], stored) << "stored twice or removed twice";
        index[event.hash] = stored;
        if (stored) parent_of[event.hash] = event.parent_hash;
      }
      cache.ClearEvents();
      const auto hashes = Hashes(tokens, salt);
      int known = 0;
      while (known < static_cast<int>(hashes.size()) && index[hashes[known]]) ++known;
      ASSERT_EQ(CountHits(cache, tokens, salt), known);
      for (const auto& [hash, is_stored] : index) {
        if (!is_stored || parent_of[hash] == 0) continue;
        ASSERT_TRUE(index[parent_of[hash]]) << "a block outlived its parent";
      }
      ASSERT_TRUE(cache.CheckInvariants().ok()) << cache.CheckInvariants().ToString();
    }
  }
}

}  // namespace
}  // namespace pingti::worker
