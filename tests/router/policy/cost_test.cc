// The estimate of a first token: what each term is worth, and that each decides by itself.
#include "router/policy/cost.h"

#include <gtest/gtest.h>

#include <vector>

namespace pingti::router {
namespace {

constexpr CostSettings kSettings{.unknown_prefill_tokens_per_s = 1000,
                                 .unknown_step = std::chrono::milliseconds(40),
                                 .tokens_per_sequence = 10,
                                 .full_cache = std::chrono::milliseconds(800)};

WorkerLoad Idle(WorkerKey key = 1) {
  WorkerLoad load;
  load.worker = key;
  load.max_batch_size = 4;
  return load;
}

double Seconds(const WorkerLoad& load, double own_tokens = 0) {
  return CostEstimate(kSettings, std::vector{load}).Seconds(own_tokens, load);
}

TEST(CostEstimate, AddsUpWhatEachTermSays) {
  EXPECT_DOUBLE_EQ(Seconds(Idle()), 0);
  EXPECT_DOUBLE_EQ(Seconds(Idle(), 500), 0.5);
  WorkerLoad waiting = Idle();
  waiting.waiting_uncached_tokens = 100;
  EXPECT_DOUBLE_EQ(Seconds(waiting), 0.1);
  WorkerLoad sent = Idle();
  sent.sent_tokens = 200;
  EXPECT_DOUBLE_EQ(Seconds(sent), 0.2);
  WorkerLoad cache = Idle();
  cache.kv_used_fraction = 0.5;
  EXPECT_DOUBLE_EQ(Seconds(cache), 0.2) << "a quarter of a full one";
  // Ten tokens each, and their part of a step of 40 ms.
  WorkerLoad sequences = Idle();
  sequences.running_sequences = 1;
  EXPECT_DOUBLE_EQ(Seconds(sequences), 0.01 + 0.01);
  sequences.waiting_sequences = 2;
  EXPECT_DOUBLE_EQ(Seconds(sequences), 0.03 + 0.03);
  sequences.sent_sequences = 3;
  EXPECT_DOUBLE_EQ(Seconds(sequences), 0.06 + 0.06);
  sequences.max_batch_size = 0;  // not known: each is a step
  EXPECT_DOUBLE_EQ(Seconds(sequences), 0.06 + 0.24);
  sequences.waiting_uncached_tokens = 100;
  sequences.sent_tokens = 200;
  sequences.kv_used_fraction = 1;
  EXPECT_DOUBLE_EQ(Seconds(sequences, 500), 0.06 + 0.24 + 0.1 + 0.2 + 0.8 + 0.5);
}

TEST(CostEstimate, RatesAreMeansOfThoseThatAreKnown) {
  std::vector<WorkerLoad> loads = {Idle(1), Idle(2), Idle(3)};
  loads[0].prefill_tokens_per_s = 100;
  loads[1].prefill_tokens_per_s = 300;
  loads[1].step_ms = 10;
  loads[2].step_ms = 30;
  const CostEstimate estimate(kSettings, loads);
  EXPECT_DOUBLE_EQ(estimate.PrefillSeconds(100), 0.5);
  WorkerLoad one = Idle();
  one.running_sequences = 4;
  EXPECT_DOUBLE_EQ(estimate.Seconds(0, one), 40 / 200.0 + 0.02);
}

TEST(CheapestWorker, TiesGoToTheOwnZoneThenToFewerSequencesThenInTurn) {
  CheapestWorker cheapest;
  std::vector<WorkerLoad> loads = {Idle(1), Idle(2), Idle(3)};
  const auto pick = [&] { return cheapest.Pick(loads, [](const WorkerLoad&) { return 1.0; }); };
  EXPECT_EQ(pick(), 0u);
  EXPECT_EQ(pick(), 1u);
  EXPECT_EQ(pick(), 2u);
  EXPECT_EQ(pick(), 0u);
  loads[1].running_sequences = 1;
  EXPECT_EQ(pick(), 2u);
  loads[0].other_zone = loads[2].other_zone = true;
  EXPECT_EQ(pick(), 1u) << "the zone goes before the sequences";
}

TEST(CheapestWorker, TheLowerCostWinsWhateverElseIsEqual) {
  CheapestWorker cheapest;
  std::vector<WorkerLoad> loads = {Idle(1), Idle(2), Idle(3)};
  loads[2].other_zone = true;
  loads[2].running_sequences = 9;
  const std::vector<double> costs = {2, 3, 1};
  EXPECT_EQ(cheapest.Pick(loads, [&](const WorkerLoad& load) { return costs[load.worker - 1]; }),
            2u);
}

}  // namespace
}  // namespace pingti::router
