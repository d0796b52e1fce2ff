#include "router/registry/prefix_index.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace pingti::router {
namespace {

using Hashes = std::vector<uint64_t>;

KvEvents Stored(uint64_t first_id, Hashes hashes) {
  return {first_id, {{KvEvent::Kind::kStored, std::move(hashes)}}};
}

KvEvents Removed(uint64_t first_id, Hashes hashes) {
  return {first_id, {{KvEvent::Kind::kRemoved, std::move(hashes)}}};
}

size_t Leading(const PrefixIndex& index, const WorkerPrefixes& worker, const Hashes& hashes) {
  return index.Find(hashes).Blocks(worker.slot());
}

TEST(PrefixIndex, CountsTheLongestKnownBeginningOfEachWorker) {
  PrefixIndex index;
  WorkerPrefixes a(&index, 100);
  WorkerPrefixes b(&index, 100);
  a.Apply(Stored(1, {10, 11, 13}));
  b.Apply(Stored(1, {10, 11, 12, 13}));
  EXPECT_EQ(Leading(index, a, {10, 11, 12, 13}), 2u);
  EXPECT_EQ(Leading(index, b, {10, 11, 12, 13}), 4u);
  EXPECT_EQ(Leading(index, a, {9, 10}), 0u);
  EXPECT_EQ(Leading(index, a, {}), 0u);
  EXPECT_EQ(index.num_entries(), 4u);
}

TEST(PrefixIndex, RemovedAndClearedBlocksAreForgotten) {
  PrefixIndex index;
  WorkerPrefixes a(&index, 100);
  WorkerPrefixes b(&index, 100);
  a.Apply(Stored(1, {10, 11}));
  b.Apply(Stored(1, {10, 11}));
  a.Apply(Removed(2, {11}));
  EXPECT_EQ(Leading(index, a, {10, 11}), 1u);
  a.Apply({3, {{KvEvent::Kind::kCleared}}});
  EXPECT_EQ(Leading(index, a, {10, 11}), 0u);
  EXPECT_EQ(a.num_blocks(), 0u);
  EXPECT_EQ(Leading(index, b, {10, 11}), 2u) << "another worker's are its own";
}

TEST(PrefixIndex, AGapForgetsWhatWasKnown) {
  PrefixIndex index;
  WorkerPrefixes worker(&index, 100);
  worker.Apply(Stored(1, {10}));
  worker.Apply(Stored(2, {11}));
  EXPECT_EQ(worker.num_blocks(), 2u);
  worker.Apply(Stored(4, {12}));
  EXPECT_EQ(Leading(index, worker, {10}), 0u);
  EXPECT_EQ(Leading(index, worker, {12}), 1u);
}

TEST(PrefixIndex, AWorkerNeverHasMoreThanItsBound) {
  PrefixIndex index;
  WorkerPrefixes worker(&index, 3);
  worker.Apply(Stored(1, {1, 2, 3, 4, 5}));
  EXPECT_EQ(worker.num_blocks(), 3u);
  worker.Add(Hashes{6});
  EXPECT_EQ(index.num_entries(), 3u);
  worker.Apply(Removed(2, {1}));
  worker.Add(Hashes{6});
  EXPECT_EQ(Leading(index, worker, {6}), 1u);
}

TEST(PrefixIndex, TheIndexNeverHasMoreThanItsBound) {
  PrefixIndex index(64);  // one entry per shard
  WorkerPrefixes first(&index, 10'000);
  WorkerPrefixes second(&index, 10'000);
  Hashes many;
  for (uint64_t hash = 1; hash <= 5000; ++hash) many.push_back(hash);
  first.Add(many);
  EXPECT_EQ(index.num_entries(), 64u);
  EXPECT_EQ(first.num_blocks(), 64u);
  second.Add(many);
  EXPECT_EQ(index.num_entries(), 64u);
  EXPECT_EQ(second.num_blocks(), 64u) << "a block that is there takes no more room for another";
  first.Apply(Removed(1, many));
  second.Apply(Removed(1, many));
  EXPECT_EQ(index.num_entries(), 0u);
}

TEST(PrefixIndex, ASessionThatEndsLeavesNothingToTheNextInItsSlot) {
  PrefixIndex index;
  auto first = std::make_unique<WorkerPrefixes>(&index, 100);
  first->Add(Hashes{1, 2, 3});
  const size_t slot = first->slot();
  first = nullptr;
  EXPECT_EQ(index.num_entries(), 0u);
  WorkerPrefixes second(&index, 100);
  EXPECT_EQ(second.slot(), slot);
  EXPECT_EQ(Leading(index, second, {1, 2, 3}), 0u);
}

// Random events of 150 workers, three groups of slots, that come and go, against a set for each.
TEST(PrefixIndex, EqualsASetPerWorkerOfWhatWasStoredAndNotRemoved) {
  constexpr size_t kWorkers = 150;
  struct Worker {
    std::unique_ptr<WorkerPrefixes> prefixes;
    std::set<uint64_t> expected;
    uint64_t next_event = 1;
  };
  std::mt19937_64 random(7);
  PrefixIndex index;
  std::vector<Worker> workers(kWorkers);
  for (Worker& worker : workers) worker.prefixes = std::make_unique<WorkerPrefixes>(&index, 1000);
  const auto draw = [&] { return 1 + random() % 40; };
  for (int i = 0; i < 20'000; ++i) {
    Worker& worker = workers[random() % kWorkers];
    const uint64_t what = random() % 100;
    if (what < 60) {
      const Hashes hashes = {draw(), draw(), draw()};
      worker.prefixes->Apply(Stored(worker.next_event++, hashes));
      worker.expected.insert(hashes.begin(), hashes.end());
    } else if (what < 95) {
      const uint64_t hash = draw();
      worker.prefixes->Apply(Removed(worker.next_event++, {hash}));
      worker.expected.erase(hash);
    } else if (what < 98) {
      worker.prefixes->Apply({worker.next_event++, {{KvEvent::Kind::kCleared}}});
      worker.expected.clear();
    } else {
      worker.prefixes = nullptr;
      worker = {std::make_unique<WorkerPrefixes>(&index, 1000), {}, 1};
    }
    ASSERT_EQ(worker.prefixes->num_blocks(), worker.expected.size());
    Hashes chain;
    for (uint64_t length = random() % 6; length > 0; --length) chain.push_back(draw());
    const PrefixIndex::Match match = index.Find(chain);
    for (const Worker& each : workers) {
      size_t leading = 0;
      while (leading < chain.size() && each.expected.contains(chain[leading])) ++leading;
      ASSERT_EQ(match.Blocks(each.prefixes->slot()), leading) << "operation " << i;
    }
  }
  std::set<std::pair<size_t, uint64_t>> entries;
  for (const Worker& worker : workers) {
    for (const uint64_t hash : worker.expected) entries.emplace(worker.prefixes->slot() / 64, hash);
  }
  EXPECT_EQ(index.num_entries(), entries.size());
}

// What one worker keeps must be found in every look-up, whatever others do meanwhile.
TEST(PrefixIndex, LookupsAndEventsOfManyThreadsDoNotDisturbEachOther) {
  PrefixIndex index;
  Hashes chain;
  for (uint64_t hash = 1; hash <= 100; ++hash) chain.push_back(hash);
  WorkerPrefixes steady(&index, 1000);
  steady.Add(chain);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      while (!stop.load()) {
        WorkerPrefixes restless(&index, 1000);
        restless.Add(chain);
        restless.Apply(Removed(1, {chain[50]}));
      }
    });
  }
  for (int i = 0; i < 2000; ++i) EXPECT_EQ(Leading(index, steady, chain), chain.size());
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(index.num_entries(), chain.size());
}

}  // namespace
}  // namespace pingti::router
