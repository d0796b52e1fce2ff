// See kv_budget.h.
#include "worker/server/kv_budget.h"

#include <algorithm>
#include <fstream>
#include <limits>

#include "common/base/strings.h"
#include "common/base/units.h"

namespace pingti::worker {
namespace {

std::string Mib(int64_t bytes) { return Concat(bytes >> 20, " MiB"); }

// The first number of a file, or -1.
int64_t ReadNumber(const char* path) {
  std::ifstream file(path);
  int64_t value = -1;
  return file >> value ? value : -1;
}

}  // namespace

absl::StatusOr<KvBudget> PlanKvMemory(const KvBudgetInputs& in) {
  if (in.max_context_tokens > in.model_context) {
    return absl::InvalidArgumentError(Concat("max_context_tokens is ", in.max_context_tokens,
                                             ": expected at most the model's ", in.model_context));
  }
  const int64_t wanted_context =
      in.max_context_tokens > 0 ? in.max_context_tokens : in.model_context;
  const int64_t blocks_per_sequence = (wanted_context + in.block_tokens - 1) / in.block_tokens;
  const int64_t useful_bytes = blocks_per_sequence * in.max_batch_size * in.bytes_per_block;
  const int64_t limit =
      static_cast<int64_t>(static_cast<double>(in.available_bytes) * in.memory_fraction);
  const int64_t left = limit - in.weight_bytes - in.workspace_bytes;
  int64_t kv_bytes = in.kv_memory;
  if (kv_bytes == 0) {
    kv_bytes = std::min(left, useful_bytes);
    if (in.kv_cap > 0) kv_bytes = std::min(kv_bytes, in.kv_cap);
  }
  const int64_t num_blocks =
      std::min<int64_t>(std::max<int64_t>(kv_bytes, 0) / in.bytes_per_block,
                        std::numeric_limits<int32_t>::max() / in.block_tokens);
  const std::string arithmetic =
      Concat(Mib(in.available_bytes), " available x ", in.memory_fraction, " = ", Mib(limit),
             "; - weights ", Mib(in.weight_bytes), " - workspace ", Mib(in.workspace_bytes), " = ",
             Mib(left), " left; KV cache ", Mib(kv_bytes), in.kv_memory > 0 ? " (kv_memory)" : "",
             " / ", in.bytes_per_block, " bytes per block of ", in.block_tokens,
             " tokens = ", num_blocks, " blocks = ", num_blocks * in.block_tokens, " tokens");
  if (kv_bytes > left) {
    return absl::ResourceExhaustedError(Concat("the model does not fit: ", arithmetic));
  }
  const int64_t kv_tokens = num_blocks * in.block_tokens;
  const int64_t least = in.max_context_tokens > 0 ? in.max_context_tokens
                                                  : std::min<int64_t>(kMinContext, wanted_context);
  if (kv_tokens < least) {
    return absl::ResourceExhaustedError(
        Concat("the KV cache does not hold one sequence of ", least, " tokens: ", arithmetic));
  }
  KvBudget budget;
  budget.num_blocks = static_cast<int32_t>(num_blocks);
  budget.max_context_tokens = static_cast<int32_t>(std::min(wanted_context, kv_tokens));
  budget.arithmetic = arithmetic;
  return budget;
}

int64_t AvailableMemory() {
  int64_t available = std::numeric_limits<int64_t>::max();
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  int64_t kib = 0;
  std::string unit;
  while (meminfo >> key >> kib) {
    std::getline(meminfo, unit);
    if (key == "MemAvailable:") available = kib << 10;
  }
  // cgroup v2, then v1; "max" and absurdly large numbers mean no limit.
  int64_t limit = ReadNumber("/sys/fs/cgroup/memory.max");
  int64_t used = ReadNumber("/sys/fs/cgroup/memory.current");
  if (limit < 0) {
    limit = ReadNumber("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    used = ReadNumber("/sys/fs/cgroup/memory/memory.usage_in_bytes");
  }
  if (limit >= 0 && used >= 0) available = std::min(available, std::max<int64_t>(limit - used, 0));
  return available;
}

}  // namespace pingti::worker
