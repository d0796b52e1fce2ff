// What a simulation's result says, in a few numbers.
#pragma once

#include <span>
#include <vector>

#include "bench/router/simulate/simulation.h"

namespace pingti::bench {

struct Summary {
  double first_token_p50_s = 0;
  double first_token_p95_s = 0;
  double first_token_p99_s = 0;
  double token_p95_s = 0;  // mean time between the tokens of an answer
  // Of all tenants but the one that asked most often; of all requests without tenants.
  double quiet_first_token_p95_s = 0;
  double hit_rate = 0;  // of prompt tokens, those that came from a cache
  double goodput = 0;   // share of requests whose first token came within the objective
  double fairness = 0;  // Jain's index over tenants' goodput; over workers' work without tenants
  double makespan_s = 0;
  size_t refused = 0;
};

// Jain, Chiu and Hawe, "A Quantitative Measure of Fairness and Discrimination", 1984: 1 when all
// are equal, 1/n when one has everything. REQUIRES: not empty.
double JainIndex(std::span<const double> values);

// Nearest rank; `percent` in (0, 100]. REQUIRES: not empty.
double NearestRank(std::vector<double> values, double percent);

// `objective_s`: what is soon enough for a first token.
Summary Summarize(const Workload& workload, const SimulationResult& result, double objective_s);

}  // namespace pingti::bench
