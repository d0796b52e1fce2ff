// Question: what does a block of a worker's KV events cost the router, and how long does it take to
// know how much of a prompt each worker has cached? Baseline: a hash set per worker under one lock,
// scanned worker by worker, in the same run. Command: router_prefix_index_bench
//
// Each worker keeps 16,384 blocks. Prompts share a beginning that every worker has; what follows,
// one worker has. A look-up asks for all workers, as placing one sequence does, while a second
// thread stores and removes blocks of one worker without a pause.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "common/base/check.h"
#include "common/base/mutex.h"
#include "router/registry/prefix_index.h"

namespace pingti::bench {
namespace {

using router::KvEvent;
using router::KvEvents;
using router::PrefixIndex;
using router::WorkerPrefixes;
using std::chrono::steady_clock;

constexpr size_t kBlocksPerWorker = 16'384;
constexpr size_t kLookups = 20'000;

class Inverted {
 public:
  explicit Inverted(size_t num_workers) {
    for (size_t i = 0; i < num_workers; ++i) {
      workers_.push_back(std::make_unique<WorkerPrefixes>(&index_, 2 * kBlocksPerWorker));
    }
  }
  void Apply(size_t worker, const KvEvents& events) { workers_[worker]->Apply(events); }
  void CountLeading(std::span<const uint64_t> hashes, std::vector<size_t>* counts) {
    const PrefixIndex::Match match = index_.Find(hashes);
    for (size_t i = 0; i < workers_.size(); ++i) (*counts)[i] = match.Blocks(workers_[i]->slot());
  }
  static constexpr const char* kName = "one inverted index";

 private:
  PrefixIndex index_;
  std::vector<std::unique_ptr<WorkerPrefixes>> workers_;
};

class SetPerWorker {
 public:
  explicit SetPerWorker(size_t num_workers) : sets_(num_workers) {}
  void Apply(size_t worker, const KvEvents& events) {
    MutexLock lock(&mutex_);
    for (const KvEvent& event : events.events) {
      for (const uint64_t hash : event.block_hashes) {
        if (event.kind == KvEvent::Kind::kStored) {
          sets_[worker].insert(hash);
        } else {
          sets_[worker].erase(hash);
        }
      }
    }
  }
  void CountLeading(std::span<const uint64_t> hashes, std::vector<size_t>* counts) {
    MutexLock lock(&mutex_);
    for (size_t i = 0; i < sets_.size(); ++i) {
      size_t count = 0;
      while (count < hashes.size() && sets_[i].contains(hashes[count])) ++count;
      (*counts)[i] = count;
    }
  }
  static constexpr const char* kName = "a set per worker";

 private:
  Mutex mutex_;
  std::vector<absl::flat_hash_set<uint64_t>> sets_ PINGTI_GUARDED_BY(mutex_);
};

double Nanoseconds(steady_clock::duration duration) {
  return std::chrono::duration<double, std::nano>(duration).count();
}

std::vector<uint64_t> RandomHashes(std::mt19937_64* random, size_t count) {
  std::vector<uint64_t> hashes(count);
  for (uint64_t& hash : hashes) hash = (*random)() | 1;
  return hashes;
}

template <typename Index>
void Run(size_t num_workers, size_t shared_blocks, size_t own_blocks) {
  std::mt19937_64 random(3);
  Index index(num_workers);
  const std::vector<uint64_t> shared = RandomHashes(&random, shared_blocks);
  std::vector<std::vector<uint64_t>> own;
  std::vector<uint64_t> next_event(num_workers, 1);
  const auto apply = [&](size_t worker, KvEvent::Kind kind, const std::vector<uint64_t>& hashes) {
    index.Apply(worker, {next_event[worker]++, {{kind, hashes}}});
  };
  const auto start = steady_clock::now();
  for (size_t worker = 0; worker < num_workers; ++worker) {
    own.push_back(RandomHashes(&random, kBlocksPerWorker - shared_blocks));
    apply(worker, KvEvent::Kind::kStored, shared);
    apply(worker, KvEvent::Kind::kStored, own.back());
  }
  const double store_ns = Nanoseconds(steady_clock::now() - start) /
                          static_cast<double>(num_workers * kBlocksPerWorker);

  std::atomic<bool> stop{false};
  std::atomic<uint64_t> changed{0};
  const auto churn_start = steady_clock::now();
  std::thread churn([&] {
    std::mt19937_64 own_random(5);
    while (!stop.load()) {
      const std::vector<uint64_t> hashes = RandomHashes(&own_random, 64);
      apply(0, KvEvent::Kind::kStored, hashes);
      apply(0, KvEvent::Kind::kRemoved, hashes);
      changed += 2 * hashes.size();
    }
  });
  std::vector<double> lookups_us;
  std::vector<size_t> counts(num_workers);
  for (size_t i = 0; i < kLookups; ++i) {
    const size_t owner = random() % num_workers;
    std::vector<uint64_t> chain = shared;
    chain.insert(chain.end(), own[owner].begin(),
                 own[owner].begin() + static_cast<ptrdiff_t>(own_blocks));
    const auto asked = steady_clock::now();
    index.CountLeading(chain, &counts);
    lookups_us.push_back(Nanoseconds(steady_clock::now() - asked) / 1000);
    PINGTI_CHECK(counts[owner] == chain.size());
    PINGTI_CHECK(num_workers == 1 || counts[(owner + 1) % num_workers] == shared_blocks);
  }
  stop.store(true);
  churn.join();
  const double change_ns =
      Nanoseconds(steady_clock::now() - churn_start) / static_cast<double>(changed);
  std::sort(lookups_us.begin(), lookups_us.end());
  std::printf("%-20s %7zu %9zu + %-6zu %9.0f %12.0f %12.1f %9.1f\n", Index::kName, num_workers,
              shared_blocks, own_blocks, store_ns, change_ns, lookups_us[lookups_us.size() / 2],
              lookups_us[lookups_us.size() * 99 / 100]);
}

int Main() {
  std::printf("%-20s %7s %18s %9s %12s %12s %9s\n", "", "workers", "shared + own blocks",
              "store ns", "change ns", "look-up p50", "p99, us");
  for (const size_t num_workers : {8, 64}) {
    for (const auto& [shared, own] : {std::pair<size_t, size_t>{16, 48}, {64, 6186}, {6250, 0}}) {
      Run<SetPerWorker>(num_workers, shared, own);
      Run<Inverted>(num_workers, shared, own);
    }
  }
  return 0;
}

}  // namespace
}  // namespace pingti::bench

int main() { return pingti::bench::Main(); }
