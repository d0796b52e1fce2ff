#include "bench/router/simulate/summary.h"

#include <gtest/gtest.h>

namespace pingti::bench {
namespace {

TEST(JainIndex, IsOneForEqualSharesAndOneNthForOneThatHasAll) {
  EXPECT_DOUBLE_EQ(JainIndex(std::vector<double>{3, 3, 3}), 1);
  EXPECT_DOUBLE_EQ(JainIndex(std::vector<double>{5, 0, 0, 0}), 0.25);
}

TEST(NearestRank, TakesAValueThatIsThere) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  EXPECT_EQ(NearestRank(values, 50), 50);
  EXPECT_EQ(NearestRank(values, 99), 99);
  EXPECT_EQ(NearestRank({7}, 99), 7);
}

TEST(Summarize, CountsWhatCameWithinTheObjective) {
  Workload workload;
  workload.requests.resize(3);
  SimulationResult result;
  result.requests = {{.first_token_s = 1}, {.first_token_s = 3}, {.refused = true}};
  result.workers = {{.busy_s = 1, .prompt_tokens = 100, .cached_tokens = 25}};
  const Summary summary = Summarize(workload, result, /*objective_s=*/2);
  EXPECT_DOUBLE_EQ(summary.goodput, 1.0 / 3);
  EXPECT_EQ(summary.refused, 1u);
  EXPECT_DOUBLE_EQ(summary.hit_rate, 0.25);
  EXPECT_EQ(summary.first_token_p99_s, 3);
}

}  // namespace
}  // namespace pingti::bench
