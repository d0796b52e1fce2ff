// One run of load: starts requests at their times, keeps thousands of streams open on one thread,
// and records when their pieces come.
//
// An event loop on the caller's thread; connections are kept and used again. A request's clock
// starts when it was due, not when a busy client got round to it, so that a slow server cannot hide
// behind a client that waits for it. Read next: stream_reader.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/bench/latency_histogram.h"
#include "tools/bench/options.h"
#include "tools/bench/prompts.h"

namespace pingti::tools {

// One request that was answered to its end. Times in ms after it was due.
struct Answered {
  double ttft_ms = 0;
  double e2e_ms = 0;
  double tpot_ms = 0;  // between tokens after the first; 0 with a single token
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
};

struct LoadResult {
  std::vector<Answered> answered;
  LatencyHistogram inter_token;
  std::map<std::string, int> errors;  // by kind
  std::string first_error;            // in words
  int unfinished = 0;                 // ended by Stop
  int most_in_flight = 0;
  double wall_s = 0;
  double client_cpu_s = 0;
  double latest_start_ms = 0;  // how far behind its time a request was sent at worst
  bool stopped = false;
};

struct LoadProgress {
  int started = 0;
  int ended = 0;
  int failed = 0;
  int in_flight = 0;
  int64_t text_events = 0;
  double elapsed_s = 0;
};

class LoadRun {
 public:
  struct Plan {
    std::optional<double> rate;  // requests per second; empty: closed loop
    int concurrency = 1;
    int num_requests = 1;
  };

  // Looks the host up. Errors: InvalidArgument (URL), Unavailable.
  static absl::StatusOr<std::unique_ptr<LoadRun>> Create(const BenchOptions& options);
  virtual ~LoadRun() = default;

  // Runs to the end of the last request. `on_progress` is called a few times a second.
  virtual LoadResult Run(const Plan& plan, std::vector<BenchRequest> requests,
                         const std::function<void(const LoadProgress&)>& on_progress) = 0;
  // From any thread: starts no more requests and ends those that run.
  virtual void Stop() = 0;
};

}  // namespace pingti::tools
