#include <gtest/gtest.h>

#include <map>
#include <vector>

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
  for (const char* name : {"prefix_affinity", "least_loaded", "round_robin"}) {
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
  EXPECT_EQ(three[policy->Pick(1, three)].worker, 1u);
  EXPECT_EQ(without_two[policy->Pick(1, without_two)].worker, 3u);
  EXPECT_EQ(three[policy->Pick(1, three)].worker, 1u);
  EXPECT_EQ(three[policy->Pick(1, three)].worker, 2u);
}

TEST(LeastLoaded, CountsWhatWasSentSinceTheReport) {
  const auto policy = *MakePolicy("least_loaded");
  std::vector<WorkerLoad> loads = {Load(1), Load(2)};
  loads[0].running_sequences = 4;  // reported
  loads[1].sent_sequences = 8;     // known to us only
  loads[1].sent_tokens = 800;
  EXPECT_EQ(policy->Pick(100, loads), 0u);
}

TEST(LeastLoaded, ABadMeasurementDoesNotStarveAWorker) {
  const auto policy = *MakePolicy("least_loaded");
  std::vector<WorkerLoad> loads = {Load(1), Load(2)};
  loads[0].prefill_tokens_per_s = 50;
  loads[0].step_ms = 500;
  loads[1].prefill_tokens_per_s = 5000;
  loads[1].step_ms = 5;
  loads[1].running_sequences = 4;
  EXPECT_EQ(policy->Pick(40, loads), 0u);
}

TEST(LeastLoaded, AvoidsAFullCache) {
  const auto policy = *MakePolicy("least_loaded");
  std::vector<WorkerLoad> loads = {Load(1), Load(2)};
  loads[0].kv_used_fraction = 0.95;
  EXPECT_EQ(policy->Pick(10, loads), 1u);
}

TEST(LeastLoaded, ItsWeightsAreSettings) {
  std::vector<WorkerLoad> loads = {Load(1), Load(2)};
  loads[0].kv_used_fraction = 0.95;
  loads[1].running_sequences = 3;  // 3 * 128 tokens at 2,000 tokens/s are 0.19 s
  EXPECT_EQ((*MakePolicy("least_loaded"))->Pick(10, loads), 1u);
  PolicySettings cache_is_free;
  cache_is_free.cost.full_cache = std::chrono::milliseconds(0);
  EXPECT_EQ((*MakePolicy("least_loaded", cache_is_free))->Pick(10, loads), 0u);
  PolicySettings slow;
  slow.cost.unknown_prefill_tokens_per_s = 200;
  EXPECT_EQ((*MakePolicy("least_loaded", slow))->Pick(10, loads), 0u);
  slow.cost.tokens_per_sequence = 1;
  EXPECT_EQ((*MakePolicy("least_loaded", slow))->Pick(10, loads), 1u);
}

TEST(LeastLoaded, SpreadsABurstEvenly) {
  const auto policy = *MakePolicy("least_loaded");
  std::vector<WorkerLoad> loads = {Load(1), Load(2), Load(3)};
  std::map<uint64_t, int> taken;
  for (int i = 0; i < 30; ++i) {
    WorkerLoad& picked = loads[policy->Pick(50, loads)];
    ++taken[picked.worker];
    ++picked.sent_sequences;
    picked.sent_tokens += 50;
  }
  EXPECT_EQ(taken[1], 10);
  EXPECT_EQ(taken[2], 10);
  EXPECT_EQ(taken[3], 10);
}

}  // namespace
}  // namespace pingti::router
