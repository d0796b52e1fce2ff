// See summary.h.
#include "bench/router/simulate/summary.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

namespace pingti::bench {

double JainIndex(std::span<const double> values) {
  double sum = 0;
  double squares = 0;
  for (const double value : values) {
    sum += value;
    squares += value * value;
  }
  return squares == 0 ? 1 : sum * sum / (static_cast<double>(values.size()) * squares);
}

double NearestRank(std::vector<double> values, double percent) {
  const auto rank =
      static_cast<size_t>(std::ceil(percent / 100 * static_cast<double>(values.size())));
  const auto at = values.begin() + static_cast<ptrdiff_t>(std::max<size_t>(rank, 1) - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

Summary Summarize(const Workload& workload, const SimulationResult& result, double objective_s) {
  Summary summary;
  std::vector<double> first_tokens;
  std::vector<double> tokens;
  struct Tenant {
    double asked = 0;
    double good = 0;
    std::vector<double> first_tokens{};
  };
  std::map<std::string, Tenant> tenants;
  size_t good = 0;
  for (size_t i = 0; i < result.requests.size(); ++i) {
    const RequestOutcome& outcome = result.requests[i];
    Tenant& tenant = tenants[workload.requests[i].tenant];
    ++tenant.asked;
    if (outcome.refused) {
      ++summary.refused;
      continue;
    }
    first_tokens.push_back(outcome.first_token_s);
    tenant.first_tokens.push_back(outcome.first_token_s);
    const uint32_t output = workload.requests[i].output_tokens;
    if (output > 1) tokens.push_back((outcome.finish_s - outcome.first_token_s) / (output - 1));
    if (outcome.first_token_s > objective_s) continue;
    ++good;
    ++tenant.good;
  }
  if (first_tokens.empty()) return summary;
  const auto noisy = std::max_element(
      tenants.begin(), tenants.end(),
      [](const auto& a, const auto& b) { return a.second.asked < b.second.asked; });
  std::vector<double> quiet;
  for (auto tenant = tenants.begin(); tenant != tenants.end(); ++tenant) {
    if (tenant == noisy && tenants.size() > 1) continue;
    const auto& own = tenant->second.first_tokens;
    quiet.insert(quiet.end(), own.begin(), own.end());
  }
  if (!quiet.empty()) summary.quiet_first_token_p95_s = NearestRank(quiet, 95);
  summary.first_token_p50_s = NearestRank(first_tokens, 50);
  summary.first_token_p95_s = NearestRank(first_tokens, 95);
  summary.first_token_p99_s = NearestRank(first_tokens, 99);
  if (!tokens.empty()) summary.token_p95_s = NearestRank(tokens, 95);
  summary.goodput = static_cast<double>(good) / static_cast<double>(result.requests.size());
  summary.makespan_s = result.end_s;
  double prompt_tokens = 0;
  double cached_tokens = 0;
  std::vector<double> shares;
  for (const ModelledService& worker : result.workers) {
    prompt_tokens += static_cast<double>(worker.prompt_tokens);
    cached_tokens += static_cast<double>(worker.cached_tokens);
    shares.push_back(worker.busy_s);
  }
  summary.hit_rate = cached_tokens / prompt_tokens;
  if (tenants.size() > 1) {
    shares.clear();
    for (const auto& [name, tenant] : tenants) shares.push_back(tenant.good / tenant.asked);
  }
  summary.fairness = JainIndex(shares);
  return summary;
}

}  // namespace pingti::bench
