// Depth follows acceptance and load: against a model of what steps cost and how drafts stand.
#include "worker/engine/draft_depth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

namespace pingti::worker {
namespace {

// Samples whose drafts stand with a probability of their own, on a device whose steps take what
// `cost` says, in microseconds by tokens.
struct DraftedRun {
  std::vector<double> stands;
  std::function<double(int32_t)> cost;
  int32_t most = 7;
};

struct RunResult {
  double tokens = 0.0;
  double time_us = 0.0;
  double speed() const { return tokens / time_us; }
  std::vector<double> mean_depth;
};

RunResult Simulate(const DraftedRun& model, int32_t steps, bool with_drafts = true) {
  DraftDepth depth;
  std::mt19937 random(7);
  const auto count = static_cast<int32_t>(model.stands.size());
  std::vector<DraftAcceptance> acceptance(count);
  std::vector<DraftDemand> demands(count);
  RunResult ran;
  ran.mean_depth.assign(count, 0.0);
  for (int32_t step = 0; step < steps; ++step) {
    for (int32_t i = 0; i < count; ++i) demands[i] = {&acceptance[i], model.most, 0};
    if (with_drafts) depth.Plan(count, 1 << 20, demands);
    int32_t tokens = count;
    ran.tokens += count;
    for (int32_t i = 0; i < count; ++i) {
      const int32_t proposed = demands[i].depth;
      EXPECT_LE(proposed, model.most);
      int32_t accepted = 0;
      while (accepted < proposed && random() % 1000 < 1000 * model.stands[i]) ++accepted;
      if (proposed > 0) depth.Learn(&acceptance[i], proposed, accepted);
      tokens += proposed;
      ran.tokens += accepted;
      ran.mean_depth[i] += static_cast<double>(proposed) / steps;
    }
    const double us = model.cost(tokens);
    ran.time_us += us;
    depth.Add(tokens, std::chrono::nanoseconds(static_cast<int64_t>(us * 1000)));
  }
  return ran;
}

// A device that reads its weights for 1,000 us, and takes 5 us more per token.
double MemoryBound(int32_t tokens) { return 1000.0 + 5.0 * tokens; }
// One whose time is its tokens.
double ComputeBound(int32_t tokens) { return 100.0 * tokens; }

TEST(DraftDepth, WithDraftsThatStandAndRoomAnAnswerIsSeveralTimesAsFast) {
  const DraftedRun model{{0.95}, MemoryBound};
  EXPECT_GT(Simulate(model, 2000).speed(), 5.0 * Simulate(model, 2000, false).speed());
}

TEST(DraftDepth, NeverLosesMoreThanThreePercent) {
  const std::function<double(int32_t)> costs[] = {MemoryBound, ComputeBound};
  for (const auto& cost : costs) {
    for (const int32_t count : {1, 8, 64}) {
      for (const double stands : {0.0, 0.1, 0.3, 0.6, 0.9}) {
        const DraftedRun model{std::vector<double>(count, stands), cost};
        const double ratio = Simulate(model, 2000).speed() / Simulate(model, 2000, false).speed();
        EXPECT_GE(ratio, 0.97) << count << " samples whose drafts stand with " << stands;
      }
    }
  }
}

TEST(DraftDepth, FallsWithAcceptance) {
  double before = 8.0;
  for (const double stands : {0.95, 0.7, 0.4, 0.02}) {
    const DraftedRun model{{stands}, [](int32_t tokens) { return 1000.0 + 100.0 * tokens; }};
    const double depth = Simulate(model, 4000).mean_depth[0];
    EXPECT_LT(depth, before) << stands;
    before = depth;
  }
  EXPECT_LT(before, 0.2);
}

TEST(DraftDepth, GoesToTheSamplesWhoseDraftsStand) {
  const DraftedRun model{{0.95, 0.95, 0.05, 0.05},
                         [](int32_t tokens) { return 500.0 + 100.0 * tokens; }};
  const RunResult ran = Simulate(model, 4000);
  EXPECT_GT(ran.mean_depth[0], 3.0);
  EXPECT_LT(ran.mean_depth[2], 0.5);
}

TEST(DraftDepth, NoticesWhenDraftsBeginToStand) {
  DraftDepth depth;
  DraftAcceptance acceptance;
  DraftDemand demand{&acceptance, 7, 0};
  const auto step = [&](bool stands) {
    demand.depth = 0;
    depth.Plan(1, 64, std::span(&demand, 1));
    if (demand.depth > 0) depth.Learn(&acceptance, demand.depth, stands ? demand.depth : 0);
    depth.Add(1 + demand.depth, std::chrono::microseconds(1000 + 150 * demand.depth));
    return demand.depth;
  };
  for (int i = 0; i < 500; ++i) step(false);
  int quiet = 0;
  for (int i = 0; i < 50; ++i) quiet += step(false) == 0;
  EXPECT_GT(quiet, 40);
  int32_t last = 0;
  for (int i = 0; i < 600; ++i) last = step(true);
  EXPECT_EQ(last, 7);
}

TEST(DraftDepth, StaysWithinTheStepsTokens) {
  DraftDepth depth;
  std::vector<DraftAcceptance> acceptance(8);
  std::vector<DraftDemand> demands;
  for (DraftAcceptance& one : acceptance) demands.push_back({&one, 7, 0});
  for (int32_t max_tokens = 8; max_tokens <= 64; ++max_tokens) {
    depth.Plan(8, max_tokens, demands);
    int32_t tokens = 8;
    for (const DraftDemand& demand : demands) tokens += demand.depth;
    EXPECT_LE(tokens, max_tokens);
  }
}

}  // namespace
}  // namespace pingti::worker
