// What `pingti bench` is asked to measure. Read next: bench_command.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pingti::tools {

// A number of tokens: fixed (128) or drawn evenly from a range (64-256), ends included.
struct LengthRange {
  int least = 0;
  int most = 0;
};
// Errors: InvalidArgument naming the text.
absl::StatusOr<LengthRange> ParseLengthRange(const std::string& text);

// What an answer must keep to count for goodput. Empty: no limit.
struct Slo {
  std::optional<double> ttft_ms{};
  std::optional<double> tpot_ms{};
  std::optional<double> e2e_ms{};

  bool any() const { return ttft_ms || tpot_ms || e2e_ms; }
};

struct BenchOptions {
  enum class Endpoint { kChat, kCompletions };
  enum class Arrivals { kPoisson, kConstant };

  std::string url = "http://127.0.0.1:8080";
  std::string api_key;
  std::string model;  // empty: the server's first
  Endpoint endpoint = Endpoint::kChat;

  // One run for each: requests per second (open loop: a request starts at its time whatever became
  // of the others), or streams kept running (closed loop). Exactly one of them is set.
  std::vector<double> rates;
  std::vector<int> concurrencies;
  Arrivals arrivals = Arrivals::kPoisson;

  int num_requests = 100;                        // measured, in each run
  std::optional<std::chrono::seconds> duration;  // ends a run's arrivals earlier
  int warmup = 0;                                // requests before each run that are not measured
  int max_in_flight = 10'000;                    // beyond it a due request counts as an error

  LengthRange input{128, 128};
  LengthRange output{128, 128};
  int shared_prefix = 0;  // tokens that all prompts begin with
  std::string dataset;    // JSON lines; empty: random words
  bool ignore_eos = true;
  std::optional<double> temperature;
  uint64_t seed = 1;

  Slo slo;
  std::optional<double> require_goodput;  // share of requests; below it the exit status is 3
  std::chrono::seconds timeout{300};      // for one request

  std::string json_file;
  std::string svg_file;
  bool progress = true;
};

// Errors: InvalidArgument naming the option.
absl::Status CheckBenchOptions(const BenchOptions& options);

}  // namespace pingti::tools
