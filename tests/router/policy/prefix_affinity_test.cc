// The policy alone, and in a simulation of workers that queue, compute and cache.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "common/base/stable_hash.h"
#include "router/policy/choose_policy.h"

namespace pingti::router {
namespace {

WorkerLoad LoadWithTimes(uint64_t key) {
  WorkerLoad load;
  load.worker = key;
  load.max_batch_size = 32;
  load.prefill_tokens_per_s = 1000;
  load.step_ms = 20;
  return load;
}

TEST(PrefixAffinity, TheLongestCachedBeginningWins) {
  const auto policy = *MakePolicy("prefix_affinity");
  std::vector<WorkerLoad> loads = {LoadWithTimes(1), LoadWithTimes(2), LoadWithTimes(3)};
  loads[1].cached_prompt_tokens = 64;
  loads[2].cached_prompt_tokens = 320;
  EXPECT_EQ(policy->Pick({400}, loads), 2u);
}

TEST(PrefixAffinity, AQueueLongerThanThePrefixIsWorthLoses) {
  PolicySettings settings;
  settings.prefix_affinity.recompute_weight = 1;
  settings.prefix_affinity.arrival_rate = 0;
  const auto policy = *MakePolicy("prefix_affinity", settings);
  std::vector<WorkerLoad> loads = {LoadWithTimes(1), LoadWithTimes(2)};
  loads[0].cached_prompt_tokens = 300;  // 0.3 s at 1,000 tokens/s
  loads[0].waiting_uncached_tokens = 250;
  EXPECT_EQ(policy->Pick({400}, loads), 0u);
  loads[0].waiting_uncached_tokens = 350;
  EXPECT_EQ(policy->Pick({400}, loads), 1u);
}

TEST(PrefixAffinity, ComputingAgainCostsMoreThanWaitingForAsManyTokens) {
  PolicySettings settings;
  settings.prefix_affinity.arrival_rate = 0;
  std::vector<WorkerLoad> loads = {LoadWithTimes(1), LoadWithTimes(2)};
  loads[0].cached_prompt_tokens = 300;
  loads[0].waiting_uncached_tokens = 850;
  EXPECT_EQ((*MakePolicy("prefix_affinity", settings))->Pick({400}, loads), 0u);
  loads[0].waiting_uncached_tokens = 950;
  EXPECT_EQ((*MakePolicy("prefix_affinity", settings))->Pick({400}, loads), 1u);
  // In 0.4 s there come 1.6 others, who would wait 0.2 s each.
  settings.prefix_affinity.arrival_rate = 4;
  EXPECT_EQ((*MakePolicy("prefix_affinity", settings))->Pick({400}, loads), 0u);
}

TEST(PrefixAffinity, AWorkerWithoutCreditIsWaitedForWhileItIsTheCheapest) {
  const auto policy = *MakePolicy("prefix_affinity");
  EXPECT_TRUE(policy->may_wait());
  std::vector<WorkerLoad> loads = {LoadWithTimes(1), LoadWithTimes(2)};
  loads[0].cached_prompt_tokens = 300;
  loads[0].has_credit = false;
  EXPECT_EQ(policy->Pick({400}, loads), 0u);
  loads[0].sent_tokens = 2000;
  EXPECT_EQ(policy->Pick({400}, loads), 1u);
}

TEST(PrefixAffinity, AHintNamesOneWorkerAtAllRoutersWhereNoneHasThePrompt) {
  // Two routers: their keys of the same workers differ, in order and in value.
  std::vector<WorkerLoad> here = {LoadWithTimes(1), LoadWithTimes(2), LoadWithTimes(3)};
  std::vector<WorkerLoad> there = {LoadWithTimes(9), LoadWithTimes(5), LoadWithTimes(4)};
  for (size_t i = 0; i < 3; ++i) {
    here[i].address_hash = MixBits(i);
    there[2 - i].address_hash = MixBits(i);
  }
  const auto one = *MakePolicy("prefix_affinity");
  const auto other = *MakePolicy("prefix_affinity");
  std::map<size_t, int> homes;
  for (int session = 0; session < 300; ++session) {
    const std::string hint = std::to_string(session);
    const size_t home = one->Pick({.prompt_tokens = 400, .affinity_hint = hint}, here);
    EXPECT_EQ(2 - other->Pick({.prompt_tokens = 400, .affinity_hint = hint}, there), home);
    ++homes[home];
  }
  EXPECT_EQ(homes.size(), 3u);
  // A prefix says more than a hint, and so does a queue.
  const PlacementRequest request{.prompt_tokens = 400, .affinity_hint = "0"};
  const size_t home = one->Pick(request, here);
  const size_t elsewhere = (home + 1) % 3;
  here[elsewhere].cached_prompt_tokens = 64;
  EXPECT_EQ(one->Pick(request, here), elsewhere);
  here[elsewhere].cached_prompt_tokens = 0;
  here[home].waiting_uncached_tokens = 600;
  EXPECT_NE(one->Pick(request, here), home);
}

TEST(PrefixAffinity, APrefixThatAllShareDoesNotGatherThemAtOneWorker) {
  const auto policy = *MakePolicy("prefix_affinity");
  std::vector<WorkerLoad> loads = {LoadWithTimes(1), LoadWithTimes(2), LoadWithTimes(3)};
  loads[1].cached_prompt_tokens = 48;  // the system prompt
  for (int i = 0; i < 30; ++i) ++loads[policy->Pick({80}, loads)].running_sequences;
  for (const WorkerLoad& load : loads) EXPECT_NEAR(load.running_sequences, 10, 1);
}

TEST(PrefixAffinity, ALongPrefixIsWorthAFewMoreNeighbours) {
  const auto policy = *MakePolicy("prefix_affinity");
  std::vector<WorkerLoad> loads = {LoadWithTimes(1), LoadWithTimes(2)};
  loads[1].cached_prompt_tokens = 2000;
  loads[1].running_sequences = 5;
  EXPECT_EQ(policy->Pick({2100}, loads), 1u);
}

TEST(PrefixAffinity, MoreCachedThanThePromptHasIsNoMoreThanAllOfIt) {
  const auto policy = *MakePolicy("prefix_affinity");
  std::vector<WorkerLoad> loads = {LoadWithTimes(1), LoadWithTimes(2)};
  loads[0].cached_prompt_tokens = 1'000'000;
  loads[0].waiting_uncached_tokens = 200;
  loads[1].cached_prompt_tokens = 96;
  EXPECT_EQ(policy->Pick({100}, loads), 1u);
}

TEST(PrefixAffinity, WithoutPrefixesItIsLeastLoaded) {
  const auto affinity = *MakePolicy("prefix_affinity");
  const auto least = *MakePolicy("least_loaded");
  std::mt19937_64 random(3);
  for (int round = 0; round < 500; ++round) {
    std::vector<WorkerLoad> loads;
    for (uint64_t key = 1; key <= 5; ++key) {
      WorkerLoad load = LoadWithTimes(key);
      load.running_sequences = random() % 20;
      load.waiting_uncached_tokens = random() % 500;
      load.sent_tokens = random() % 500;
      loads.push_back(load);
    }
    const uint64_t tokens = 1 + random() % 300;
    ASSERT_EQ(affinity->Pick({tokens}, loads), least->Pick({tokens}, loads)) << round;
  }
}

// Workers that compute kRate tokens a second, first come first served, and keep every conversation
// they have seen. Time is a number.
class Simulation {
 public:
  static constexpr double kRate = 1000;

  Simulation(const std::string& policy, size_t num_workers)
      : policy_(*MakePolicy(policy)), workers_(num_workers) {}

  // A prompt of `tokens` that begins with `cached` tokens of `conversation`, where that is known.
  // Returns its time to first token.
  double Ask(double now, int conversation, uint64_t tokens) {
    std::vector<WorkerLoad> loads;
    for (size_t i = 0; i < workers_.size(); ++i) {
      WorkerLoad load = LoadWithTimes(i + 1);
      load.prefill_tokens_per_s = kRate;
      const double backlog = std::max(0.0, workers_[i].busy_until - now);
      load.waiting_uncached_tokens = static_cast<uint64_t>(backlog * kRate);
      load.cached_prompt_tokens = std::min(workers_[i].known[conversation], tokens);
      loads.push_back(load);
    }
    const size_t picked = policy_->Pick({tokens}, loads);
    Worker& worker = workers_[picked];
    const uint64_t cached = std::min(worker.known[conversation], tokens - 1);
    worker.busy_until =
        std::max(worker.busy_until, now) + static_cast<double>(tokens - cached) / kRate;
    worker.known[conversation] = tokens;
    ++worker.taken;
    computed_ += tokens - cached;
    return worker.busy_until - now;
  }

  uint64_t computed() const { return computed_; }
  int least_taken() const {
    return std::min_element(workers_.begin(), workers_.end(),
                            [](const auto& a, const auto& b) { return a.taken < b.taken; })
        ->taken;
  }

 private:
  struct Worker {
    double busy_until = 0;
    std::map<int, uint64_t> known;
    int taken = 0;
  };
  const std::unique_ptr<Policy> policy_;
  std::vector<Worker> workers_;
  uint64_t computed_ = 0;
};

struct Outcome {
  double mean_ttft = 0;
  double worst_ttft = 0;
  uint64_t computed = 0;
  int least_taken = 0;
};

// Conversations that grow by 60 tokens per turn, in random order, at `rate` requests a second. With
// `skewed`, half of all requests belong to one conversation.
Outcome Simulate(const std::string& policy, double rate, bool skewed) {
  constexpr int kRequests = 4000;
  std::mt19937_64 random(11);
  std::exponential_distribution<double> gap(rate);
  Simulation simulation(policy, 4);
  std::map<int, uint64_t> length;
  Outcome outcome;
  double now = 0;
  for (int i = 0; i < kRequests; ++i) {
    now += gap(random);
    const bool hot = skewed && random() % 2 == 0;
    const int conversation = hot ? 0 : static_cast<int>(1 + random() % 200);
    uint64_t& tokens = length[conversation];
    tokens = hot ? 600 + random() % 100 : std::min<uint64_t>(tokens + 60, 1200);
    const double ttft = simulation.Ask(now, conversation, tokens);
    outcome.mean_ttft += ttft / kRequests;
    outcome.worst_ttft = std::max(outcome.worst_ttft, ttft);
  }
  outcome.computed = simulation.computed();
  outcome.least_taken = simulation.least_taken();
  return outcome;
}

TEST(PrefixAffinity, ConversationsStayWhereTheirPastIsCached) {
  const Outcome affinity = Simulate("prefix_affinity", 8, /*skewed=*/false);
  const Outcome least = Simulate("least_loaded", 8, /*skewed=*/false);
  EXPECT_LT(affinity.computed, least.computed / 2);
  EXPECT_LT(affinity.mean_ttft, least.mean_ttft / 2);
}

TEST(PrefixAffinity, NeitherWorkersNorRequestsStarve) {
  for (const double rate : {2.0, 8.0, 20.0}) {
    for (const bool skewed : {false, true}) {
      const Outcome affinity = Simulate("prefix_affinity", rate, skewed);
      const Outcome least = Simulate("least_loaded", rate, skewed);
      EXPECT_GE(affinity.least_taken, 4000 / 4 / 10) << rate << " req/s, skewed " << skewed;
      EXPECT_LE(affinity.worst_ttft, 2 * std::max(1.2, least.worst_ttft)) << rate << skewed;
    }
  }
}

}  // namespace
}  // namespace pingti::router
