// What a run of load came to: percentiles, rates, goodput. And the forms it is shown in.
//
// Pure functions. Definitions: TTFT is the time from when a request was due to its first token;
// TPOT the mean time between the tokens after it; ITL a single gap between two events; E2E the time
// to the last token. Goodput counts the requests that kept every limit of the SLO, as a share of
// all that were due (failed ones keep none) and per second.
#pragma once

#include <string>
#include <vector>

#include "tools/bench/load_run.h"
#include "tools/bench/options.h"

namespace pingti::tools {

struct Percentiles {
  double mean = 0;
  double p50 = 0;
  double p95 = 0;
  double p99 = 0;
  double max = 0;
};

struct RunReport {
  double load = 0;  // requests per second, or streams
  int num_answered = 0;
  int num_failed = 0;
  int num_unfinished = 0;
  std::map<std::string, int> errors;
  std::string first_error;
  double wall_s = 0;
  double requests_per_s = 0;
  double output_tokens_per_s = 0;
  double input_tokens_mean = 0;
  double output_tokens_mean = 0;
  Percentiles ttft_ms;
  Percentiles tpot_ms;
  Percentiles itl_ms;
  Percentiles e2e_ms;
  double goodput_share = 0;
  double goodput_per_s = 0;
  int most_in_flight = 0;
  double latest_start_ms = 0;
  double client_cpu_share = 0;  // of one core
};

struct BenchReport {
  std::string model;
  BenchOptions options;
  std::vector<RunReport> runs;
  bool stopped = false;
};

RunReport MakeReport(double load, const LoadResult& result, const Slo& slo);

// A table for people: one column per run.
std::string ReportTable(const BenchReport& report);
std::string ReportJson(const BenchReport& report);

}  // namespace pingti::tools
