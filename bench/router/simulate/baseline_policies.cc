// See baseline_policies.h.
#include "bench/router/simulate/baseline_policies.h"

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <unordered_set>
#include <vector>

#include "router/policy/choose_policy.h"

namespace pingti::bench {
namespace {

using router::PlacementRequest;
using router::Policy;
using router::WorkerKey;
using router::WorkerLoad;

class RandomPolicy final : public Policy {
 public:
  explicit RandomPolicy(uint64_t seed) : random_(seed) {}
  std::string_view name() const override { return "random"; }
  size_t Pick(const PlacementRequest&, std::span<const WorkerLoad> candidates) override {
    return random_() % candidates.size();
  }

 private:
  std::mt19937_64 random_;
};

class LlmdPolicy final : public Policy {
 public:
  explicit LlmdPolicy(uint64_t seed) : random_(seed) {}
  std::string_view name() const override { return "llm_d"; }

  size_t Pick(const PlacementRequest&, std::span<const WorkerLoad> candidates) override {
    const auto cached = [](const WorkerLoad& load) {
      return static_cast<double>(load.cached_prompt_tokens);
    };
    const auto waiting = [](const WorkerLoad& load) {
      return static_cast<double>(load.waiting_sequences);
    };
    // Only workers that have any of the prompt have a score to be compared.
    double least_cached = std::numeric_limits<double>::max();
    double most_cached = 0;
    for (const WorkerLoad& load : candidates) {
      if (load.cached_prompt_tokens == 0) continue;
      least_cached = std::min(least_cached, cached(load));
      most_cached = std::max(most_cached, cached(load));
    }
    const auto [least, most] = std::minmax_element(
        candidates.begin(), candidates.end(),
        [&](const WorkerLoad& a, const WorkerLoad& b) { return waiting(a) < waiting(b); });
    const double least_waiting = waiting(*least);
    const double most_waiting = waiting(*most);
    std::vector<size_t> best;
    double best_score = -1;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const WorkerLoad& load = candidates[i];
      double prefix = 0;
      if (load.cached_prompt_tokens > 0) {
        prefix = most_cached > least_cached
                     ? (cached(load) - least_cached) / (most_cached - least_cached)
                     : 1;
      }
      const double queue = most_waiting > least_waiting
                               ? (most_waiting - waiting(load)) / (most_waiting - least_waiting)
                               : 1;
      const double score = 2 * prefix + (1 - load.kv_used_fraction) + queue;
      if (score > best_score) best.clear();
      if (score >= best_score) best.push_back(i);
      best_score = std::max(score, best_score);
    }
    return best[random_() % best.size()];
  }

 private:
  std::mt19937_64 random_;
};

class SglangPolicy final : public Policy {
 public:
  std::string_view name() const override { return "sglang"; }

  size_t Pick(const PlacementRequest& request, std::span<const WorkerLoad> candidates) override {
    const size_t picked = PickWithoutNote(request, candidates);
    Tree& tree = trees_[candidates[picked].worker];
    tree.insert(request.block_hashes.begin(), request.block_hashes.end());
    return picked;
  }

 private:
  using Tree = std::unordered_set<uint64_t>;  // blocks, each of which names all before it

  size_t PickWithoutNote(const PlacementRequest& request, std::span<const WorkerLoad> candidates) {
    size_t least = 0;
    size_t most = 0;
    size_t smallest = 0;
    size_t longest = 0;
    size_t longest_match = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const WorkerLoad& load = candidates[i];
      if (load.sequences() < candidates[least].sequences()) least = i;
      if (load.sequences() > candidates[most].sequences()) most = i;
      const Tree& tree = trees_[load.worker];
      if (tree.size() < trees_[candidates[smallest].worker].size()) smallest = i;
      size_t match = 0;
      while (match < request.block_hashes.size() && tree.contains(request.block_hashes[match])) {
        ++match;
      }
      if (match > longest_match) {
        longest = i;
        longest_match = match;
      }
    }
    const double high = candidates[most].sequences();
    const double low = candidates[least].sequences();
    if (high - low > 32 && high > 1.0001 * low) return least;
    // Blocks stand for the text of which this rule takes the share.
    if (2 * longest_match > request.block_hashes.size()) return longest;
    return smallest;
  }

  std::map<WorkerKey, Tree> trees_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Policy>> MakeAnyPolicy(std::string_view name, uint64_t seed,
                                                      const router::PolicySettings& settings) {
  if (name == "random") return std::make_unique<RandomPolicy>(seed);
  if (name == "llm_d") return std::make_unique<LlmdPolicy>(seed);
  if (name == "sglang") return std::make_unique<SglangPolicy>();
  router::PolicySettings seeded = settings;
  seeded.seed = seed;
  return router::MakePolicy(name, seeded);
}

}  // namespace pingti::bench
