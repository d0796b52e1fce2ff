// How many KV blocks the memory allows, with the arithmetic in words. Pure but for AvailableMemory.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace pingti::worker {

struct KvBudgetInputs {
  int64_t available_bytes = 0;  // before anything was loaded
  double memory_fraction = 0.8;
  int64_t weight_bytes = 0;
  int64_t workspace_bytes = 0;
  int64_t kv_memory = 0;  // 0: as much as is useful
  int64_t kv_cap = 0;     // bound where kv_memory is 0; 0: none
  int64_t bytes_per_block = 0;
  int32_t block_tokens = 0;
  int32_t model_context = 0;       // tokens the model can handle
  int32_t max_context_tokens = 0;  // asked for; 0: what fits
  int32_t max_batch_size = 0;
};

struct KvBudget {
  int32_t num_blocks = 0;
  int32_t max_context_tokens = 0;
  std::string arithmetic;  // one line for the log
};

// Errors: ResourceExhausted with the arithmetic when not even one sequence of the context asked for
// (or of kMinContext tokens) fits; InvalidArgument when max_context_tokens is beyond the model.
absl::StatusOr<KvBudget> PlanKvMemory(const KvBudgetInputs& in);

inline constexpr int32_t kMinContext = 256;

// Memory this process may still take: the machine's, or less inside a container.
int64_t AvailableMemory();

}  // namespace pingti::worker
