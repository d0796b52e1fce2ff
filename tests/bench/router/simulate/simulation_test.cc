// The simulator itself: its times follow from its cost model, everything is answered, and the known
// differences between policies show.
#include "bench/router/simulate/simulation.h"

#include <gtest/gtest.h>

#include <string>

#include "bench/router/simulate/baseline_policies.h"
#include "bench/router/simulate/summary.h"
#include "common/base/log.h"

namespace pingti::bench {
namespace {

// Workers that come and go in every run are no news.
const bool kQuiet = InitLogging("error", "text", "simulation_test").ok();

SimulationSettings Settings(const Workload& workload, size_t workers = 4) {
  EXPECT_TRUE(kQuiet);
  SimulationSettings settings;
  settings.workers = workers;
  settings.worker.block_tokens = workload.block_tokens;
  return settings;
}

SimulationResult RunPolicy(const Workload& workload, const SimulationSettings& settings,
                           const std::string& policy) {
  auto result =
      Simulate(workload, settings, [&](size_t router) { return MakeAnyPolicy(policy, router); });
  EXPECT_TRUE(result.ok()) << result.status();
  return *std::move(result);
}

Workload One(uint32_t input, uint32_t output) {
  Workload workload{.name = "one", .block_tokens = 64};
  workload.requests = {{.input_tokens = input, .output_tokens = output}};
  for (uint64_t i = 1; i <= input / 64; ++i) workload.requests[0].blocks.push_back(i);
  return workload;
}

TEST(Simulate, ASequenceAloneTakesWhatItsStepsCost) {
  const Workload workload = One(5'000, 3);
  const SimulationSettings settings = Settings(workload, 1);
  const SimulationResult result = RunPolicy(workload, settings, "round_robin");
  const CostModel& cost = settings.worker.cost;
  const double first = cost.StepSeconds(0, 0, 4'096, 4'096.0 * 2'048) +
                       cost.StepSeconds(0, 0, 904, 904.0 * (4'096 + 452));
  const double messages = 2 * settings.worker.network_s;
  EXPECT_NEAR(result.requests[0].first_token_s, messages + first, 1e-6);
  EXPECT_NEAR(result.requests[0].finish_s, messages + first + 2 * cost.StepSeconds(1, 5'000, 0, 0),
              1e-4);
}

TEST(Simulate, ThePastOfAPromptIsComputedOnce) {
  Workload workload = One(6'400, 2);
  workload.requests.push_back(workload.requests[0]);
  workload.requests[1].arrival_s = 10;
  const SimulationResult result = RunPolicy(workload, Settings(workload, 1), "round_robin");
  EXPECT_EQ(result.workers[0].cached_tokens, 6'400u - 64) << "its last token is computed again";
  EXPECT_LT(result.requests[1].first_token_s, result.requests[0].first_token_s / 10);
}

TEST(Simulate, ARequestThatNoCacheHoldsIsNamed) {
  const Workload workload = One(200'000, 2);
  const auto result = Simulate(workload, Settings(workload),
                               [](size_t router) { return MakeAnyPolicy("round_robin", router); });
  EXPECT_TRUE(absl::IsInvalidArgument(result.status()));
}

TEST(Simulate, EveryRequestIsAnsweredAndTheSameRunIsTheSame) {
  for (const char* name : {"chat", "shared_prompts", "long_context", "bursts", "tenants"}) {
    const Workload workload = *MakeWorkload(name, {.requests = 300, .rate = 4, .seed = 3});
    SimulationSettings settings = Settings(workload);
    settings.routers = 3;
    for (const char* policy : {"prefix_affinity", "session_hash", "power_of_two", "least_loaded",
                               "round_robin", "llm_d", "sglang", "random"}) {
      const SimulationResult result = RunPolicy(workload, settings, policy);
      for (const RequestOutcome& outcome : result.requests) {
        ASSERT_FALSE(outcome.refused);
        ASSERT_GT(outcome.first_token_s, 0) << name << " " << policy;
        ASSERT_GE(outcome.finish_s, outcome.first_token_s);
      }
    }
    const SimulationResult once = RunPolicy(workload, settings, "prefix_affinity");
    const SimulationResult again = RunPolicy(workload, settings, "prefix_affinity");
    ASSERT_EQ(once.end_s, again.end_s) << name;
  }
}

TEST(Simulate, ConversationsThatStayHitTheCache) {
  const Workload workload = MakeChat({.requests = 1'000, .rate = 10, .seed = 3});
  const SimulationSettings settings = Settings(workload);
  const Summary affinity = Summarize(workload, RunPolicy(workload, settings, "prefix_affinity"), 2);
  const Summary blind = Summarize(workload, RunPolicy(workload, settings, "round_robin"), 2);
  EXPECT_GT(affinity.hit_rate, 0.6);
  EXPECT_LT(blind.hit_rate, affinity.hit_rate / 2);
  EXPECT_LT(affinity.first_token_p95_s, blind.first_token_p95_s);
}

TEST(Simulate, ACacheThatIsTooSmallMakesSequencesGiveWay) {
  const Workload workload = MakeTenants({.requests = 300, .rate = 30, .seed = 3});
  SimulationSettings settings = Settings(workload, 1);
  settings.worker.cost.kv_tokens = 12'000;
  const SimulationResult result = RunPolicy(workload, settings, "least_loaded");
  EXPECT_GT(result.workers[0].preemptions, 0u);
  for (const RequestOutcome& outcome : result.requests) ASSERT_GT(outcome.finish_s, 0);
}

}  // namespace
}  // namespace pingti::bench
