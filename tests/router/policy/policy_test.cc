#include <gtest/gtest.h>

#include <map>
#include <span>
#include <string>
#include <vector>

#include "common/base/stable_hash.h"
#include "router/policy/choose_policy.h"

namespace pingti::router {
namespace {

WorkerLoad Load(uint64_t key) {
  WorkerLoad load;
  load.worker = key;
  load.max_batch_size = 32;
  return load;
}

TEST(MakePolicy, NamesWhatThereIs) {
  for (const char* name :
       {"prefix_affinity", "least_loaded", "power_of_two", "session_hash", "round_robin"}) {
    const auto policy = MakePolicy(name);
    ASSERT_TRUE(policy.ok()) << policy.status();
    EXPECT_EQ((*policy)->name(), name);
  }
  const absl::Status status = MakePolicy("fastest").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_NE(status.message().find("least_loaded"), absl::string_view::npos);
}

TEST(RoundRobin, TakesTurnsAlsoWhenWorkersComeAndGo) {
  const auto policy = *MakePolicy("round_robin");
  const std::vector<WorkerLoad> three = {Load(1), Load(2), Load(3)};
  const std::vector<WorkerLoad> without_two = {Load(1), Load(3)};
  EXPECT_EQ(three[policy->Pick({1}, three)].worker, 1u);
  EXPECT_EQ(without_two[policy->Pick({1}, without_two)].worker, 3u);
  EXPECT_EQ(three[policy->Pick({1}, three)].worker, 1u);
  EXPECT_EQ(three[policy->Pick({1}, three)].worker, 2u);
}

TEST(LeastLoaded, CountsWhatWasSentSinceTheReport) {
  const auto policy = *MakePolicy("least_loaded");
  std::vector<WorkerLoad> loads = {Load(1), Load(2)};
  loads[0].running_sequences = 4;  // reported
  loads[1].sent_sequences = 8;     // known to us only
  loads[1].sent_tokens = 800;
  EXPECT_EQ(policy->Pick({100}, loads), 0u);
}

TEST(LeastLoaded, ABadMeasurementDoesNotStarveAWorker) {
  const auto policy = *MakePolicy("least_loaded");
  std::vector<WorkerLoad> loads = {Load(1), Load(2)};
  loads[0].prefill_tokens_per_s = 50;
  loads[0].step_ms = 500;
  loads[1].prefill_tokens_per_s = 5000;
  loads[1].step_ms = 5;
  loads[1].running_sequences = 4;
  EXPECT_EQ(policy->Pick({40}, loads), 0u);
}

TEST(LeastLoaded, AvoidsAFullCache) {
  const auto policy = *MakePolicy("least_loaded");
  std::vector<WorkerLoad> loads = {Load(1), Load(2)};
  loads[0].kv_used_fraction = 0.95;
  EXPECT_EQ(policy->Pick({10}, loads), 1u);
}

TEST(LeastLoaded, ItsWeightsAreSettings) {
  std::vector<WorkerLoad> loads = {Load(1), Load(2)};
  loads[0].kv_used_fraction = 0.95;
  loads[1].running_sequences = 3;  // 3 * 128 tokens at 2,000 tokens/s are 0.19 s
  EXPECT_EQ((*MakePolicy("least_loaded"))->Pick({10}, loads), 1u);
  PolicySettings cache_is_free;
  cache_is_free.cost.full_cache = std::chrono::milliseconds(0);
  EXPECT_EQ((*MakePolicy("least_loaded", cache_is_free))->Pick({10}, loads), 0u);
  PolicySettings slow;
  slow.cost.unknown_prefill_tokens_per_s = 200;
  EXPECT_EQ((*MakePolicy("least_loaded", slow))->Pick({10}, loads), 0u);
  slow.cost.tokens_per_sequence = 1;
  EXPECT_EQ((*MakePolicy("least_loaded", slow))->Pick({10}, loads), 1u);
}

TEST(LeastLoaded, PrefersItsOwnZoneAtEqualCost) {
  const auto policy = *MakePolicy("least_loaded");
  std::vector<WorkerLoad> loads = {Load(1), Load(2), Load(3)};
  loads[0].other_zone = true;
  loads[2].other_zone = true;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(policy->Pick({50}, loads), 1u);
  loads[1].running_sequences = 1;
  EXPECT_NE(policy->Pick({50}, loads), 1u);
}

TEST(LeastLoaded, SpreadsABurstEvenly) {
  const auto policy = *MakePolicy("least_loaded");
  std::vector<WorkerLoad> loads = {Load(1), Load(2), Load(3)};
  std::map<uint64_t, int> taken;
  for (int i = 0; i < 30; ++i) {
    WorkerLoad& picked = loads[policy->Pick({50}, loads)];
    ++taken[picked.worker];
    ++picked.sent_sequences;
    picked.sent_tokens += 50;
  }
  EXPECT_EQ(taken[1], 10);
  EXPECT_EQ(taken[2], 10);
  EXPECT_EQ(taken[3], 10);
}

TEST(PowerOfTwo, TakesTheBetterOfTwoAndNeverTheWorstOfAll) {
  PolicySettings settings;
  settings.seed = 7;
  const auto policy = *MakePolicy("power_of_two", settings);
  std::vector<WorkerLoad> loads;
  for (uint64_t key = 1; key <= 6; ++key) {
    loads.push_back(Load(key));
    loads.back().running_sequences = static_cast<uint32_t>(key);
  }
  std::map<uint64_t, int> taken;
  for (int i = 0; i < 6000; ++i) ++taken[loads[policy->Pick({50}, loads)].worker];
  // Of the 15 pairs, the worker with rank r is the better one in 6 - r.
  for (uint64_t key = 1; key <= 6; ++key) {
    EXPECT_NEAR(taken[key], 6000.0 * static_cast<double>(6 - key) / 15, 150) << key;
  }
  EXPECT_EQ(policy->Pick({50}, std::span(loads).first(1)), 0u);
}

std::vector<WorkerLoad> Addressed(uint64_t count) {
  std::vector<WorkerLoad> loads;
  for (uint64_t key = 1; key <= count; ++key) {
    loads.push_back(Load(key));
    loads.back().address_hash = MixBits(key);
  }
  return loads;
}

TEST(SessionHash, ASessionStaysAndAWorkerThatGoesMovesOnlyItsOwn) {
  const auto policy = *MakePolicy("session_hash");
  const auto loads = Addressed(5);
  const auto home = [&](int session, std::span<const WorkerLoad> workers) {
    const std::string hint = std::to_string(session);
    return workers[policy->Pick({.prompt_tokens = 10, .affinity_hint = hint}, workers)].worker;
  };
  std::map<uint64_t, int> sessions;
  for (int session = 0; session < 1000; ++session) {
    const uint64_t worker = home(session, loads);
    ++sessions[worker];
    EXPECT_EQ(home(session, loads), worker);
    const uint64_t without_last = home(session, std::span(loads).first(4));
    if (worker != 5) {
      EXPECT_EQ(without_last, worker);
    }
  }
  for (uint64_t key = 1; key <= 5; ++key) EXPECT_NEAR(sessions[key], 200, 60) << key;
}

TEST(SessionHash, NoWorkerGetsMoreThanItsBound) {
  PolicySettings settings;
  settings.session_hash.load_factor = 1.5;
  const auto policy = *MakePolicy("session_hash", settings);
  auto loads = Addressed(4);
  for (int i = 0; i < 100; ++i) {
    ++loads[policy->Pick({.prompt_tokens = 10, .affinity_hint = "one for all"}, loads)]
          .running_sequences;
  }
  for (const WorkerLoad& load : loads) EXPECT_LE(load.running_sequences, 38u);  // 1.5 * 100 / 4
}

TEST(SessionHash, WithoutAHintTheBeginningOfThePromptIsTheSession) {
  const auto policy = *MakePolicy("session_hash");
  auto loads = Addressed(8);
  const std::vector<uint64_t> chain = {77, 78, 79};
  const size_t home = policy->Pick({.prompt_tokens = 50, .block_hashes = chain}, loads);
  EXPECT_EQ(policy->Pick({.prompt_tokens = 20, .block_hashes = std::span(chain).first(1)}, loads),
            home);
  for (WorkerLoad& load : loads) load.waiting_uncached_tokens = 1000;
  loads[3].waiting_uncached_tokens = 0;
  EXPECT_EQ(policy->Pick({.prompt_tokens = 5}, loads), 3u) << "less than a block: least loaded";
}

}  // namespace
}  // namespace pingti::router
