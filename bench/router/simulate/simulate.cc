// Question: how soon do first tokens come, how much of prompts comes from caches, and who gets
// what, under each placement policy? Baselines: round robin, random, power of two choices, and the
// rules that llm-d and SGLang publish, in the same run. Command: router_simulate [OPTIONS], where
// --help names them all.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "CLI/CLI.hpp"
#include "bench/router/simulate/baseline_policies.h"
#include "bench/router/simulate/simulation.h"
#include "bench/router/simulate/summary.h"
#include "bench/router/simulate/workload.h"
#include "common/base/log.h"

namespace pingti::bench {
namespace {

struct Arguments {
  std::string workload = "chat";
  std::vector<std::string> policies = {"prefix_affinity", "llm_d/early",  "sglang/early",
                                       "session_hash",    "least_loaded", "power_of_two",
                                       "round_robin",     "random/early"};
  std::string model = "72b";
  SimulationSettings simulation;
  router::PolicySettings policy;
  WorkloadSize size;
  double speed = 1;
  double objective_s = 2;
  uint64_t seed = 1;
  bool csv = false;
};

constexpr std::string_view kEarly = "/early";

absl::StatusOr<Workload> OpenWorkload(const Arguments& arguments) {
  constexpr std::string_view kTrace = "trace:";
  if (arguments.workload.starts_with(kTrace)) {
    return ReadTrace(arguments.workload.substr(kTrace.size()), arguments.speed);
  }
  return MakeWorkload(arguments.workload, arguments.size);
}

absl::Status RunPolicy(const Arguments& arguments, const Workload& workload,
                       const std::string& policy) {
  SimulationSettings settings = arguments.simulation;
  std::string name = policy;
  if (name.ends_with(kEarly)) {
    name.resize(name.size() - kEarly.size());
    settings.late_binding = false;
  }
  const auto result = Simulate(workload, settings, [&](size_t router) {
    return MakeAnyPolicy(name, arguments.seed + router, arguments.policy);
  });
  if (!result.ok()) return result.status();
  const Summary summary = Summarize(workload, *result, arguments.objective_s);
  std::printf(arguments.csv
                  ? "%s,%zu,%zu,%s,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.1f,%zu\n"
                  : "%-16s %4zu %2zu  %-22s %9.3f %9.3f %9.3f %9.3f %9.4f %7.3f %8.3f %7.3f "
                    "%8.1f %6zu\n",
              workload.name.c_str(), settings.workers, settings.routers, policy.c_str(),
              summary.first_token_p50_s, summary.first_token_p95_s, summary.first_token_p99_s,
              summary.quiet_first_token_p95_s, summary.token_p95_s, summary.hit_rate,
              summary.goodput, summary.fairness, summary.makespan_s, summary.refused);
  std::fflush(stdout);
  return absl::OkStatus();
}

absl::Status Run(Arguments arguments) {
  auto workload = OpenWorkload(arguments);
  if (!workload.ok()) return workload.status();
  arguments.simulation.worker.block_tokens = workload->block_tokens;
  arguments.simulation.worker.cost = arguments.model == "7b" ? kQwen7bInt8 : kQwen72bInt8;
  const uint64_t most = arguments.simulation.worker.cost.kv_tokens * 9 / 10;
  const size_t too_long = std::erase_if(workload->requests, [&](const SimulatedRequest& request) {
    return uint64_t{request.input_tokens} + request.output_tokens > most;
  });
  if (too_long > 0) {
    std::fprintf(stderr, "%zu requests of more than %llu tokens are left out\n", too_long,
                 static_cast<unsigned long long>(most));
  }
  std::printf(arguments.csv ? "%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s\n"
                            : "%-16s %4s %2s  %-22s %9s %9s %9s %9s %9s %7s %8s %7s %8s %6s\n",
              "workload", "wrk", "rt", "policy", "ttft_p50", "ttft_p95", "ttft_p99", "quiet_p95",
              "tpot_p95", "hits", "goodput", "jain", "seconds", "no");
  for (const std::string& policy : arguments.policies) {
    if (const absl::Status status = RunPolicy(arguments, *workload, policy); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"Simulates routers and workers in virtual time."};
  app.add_option("--workload", arguments.workload,
                 "chat, shared_prompts, long_context, bursts, tenants or trace:PATH");
  app.add_option("--policies", arguments.policies,
                 "by name, or llm_d, sglang or random; with /early behind it a worker is chosen on "
                 "arrival, as routers without a queue do")
      ->delimiter(',');
  app.add_option("--model", arguments.model)->check(CLI::IsMember({"7b", "72b"}));
  app.add_option("--workers", arguments.simulation.workers)->check(CLI::Range(1, 4096));
  app.add_option("--routers", arguments.simulation.routers)->check(CLI::Range(1, 64));
  app.add_option("--rate", arguments.size.rate, "generated requests per second");
  app.add_option("--requests", arguments.size.requests);
  app.add_option("--speed", arguments.speed, "of a trace");
  app.add_option("--order", arguments.simulation.queue_order);
  app.add_option("--credit-tokens", arguments.simulation.credit_tokens);
  app.add_option("--credit-sequences", arguments.simulation.credit_sequences);
  app.add_option("--recompute-weight", arguments.policy.prefix_affinity.recompute_weight);
  app.add_option("--arrival-rate", arguments.policy.prefix_affinity.arrival_rate);
  app.add_option("--hint-tokens", arguments.policy.prefix_affinity.hint_tokens);
  app.add_option("--tokens-per-sequence", arguments.policy.cost.tokens_per_sequence);
  app.add_option("--objective", arguments.objective_s, "seconds to a first token");
  app.add_option("--seed", arguments.seed);
  app.add_flag("--csv", arguments.csv);
  CLI11_PARSE(app, argc, argv);
  arguments.size.seed = arguments.seed;
  arguments.simulation.seed = arguments.seed;
  arguments.simulation.admission = {.max_queued_sequences = 1u << 30,
                                    .max_queued_tokens = 1ull << 50,
                                    .max_concurrent_sequences = 0};
  absl::Status status = InitLogging("error", "text", "router_simulate");
  if (status.ok()) status = Run(std::move(arguments));
  if (status.ok()) return 0;
  std::fprintf(stderr, "router_simulate: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace pingti::bench

int main(int argc, char** argv) { return pingti::bench::Main(argc, argv); }
