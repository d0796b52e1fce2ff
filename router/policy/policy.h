// Which worker gets a sequence. One file per policy beside this one; main.cc picks by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"

namespace pingti::router {

// One worker that may take the sequence now, as its last report and our own books show it.
struct WorkerLoad {
  uint64_t worker = 0;
  // Last LoadReport.
  uint32_t running_sequences = 0;
  uint32_t waiting_sequences = 0;
  uint64_t waiting_uncached_tokens = 0;
  double kv_used_fraction = 0;      // [0, 1]
  double prefill_tokens_per_s = 0;  // 0: not known yet
  double step_ms = 0;
  uint32_t max_batch_size = 0;
  // Sent by this router since, so that a stale report does not draw a whole burst to one worker.
  uint32_t sent_sequences = 0;
  uint64_t sent_tokens = 0;
  // How much of this very prompt's beginning the worker has cached, as far as this router knows.
  uint64_t cached_prompt_tokens = 0;
};

// Called under the dispatcher's lock: one thread at a time, must be quick and not call back.
class Policy {
 public:
  virtual ~Policy() = default;
  // Index into `candidates`. REQUIRES: it is not empty.
  virtual size_t Pick(uint64_t prompt_tokens, std::span<const WorkerLoad> candidates) = 0;
};

// Errors: InvalidArgument naming the policies there are.
absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(std::string_view name);

}  // namespace pingti::router
