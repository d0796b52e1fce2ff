// What clients ask for: recorded traces, and generated ones of a certain shape.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pingti::bench {

struct SimulatedRequest {
  double arrival_s = 0;  // with `follows`, seconds after the answer before
  int follows = -1;      // index of the request of which the client waits for the answer; -1: none
  uint32_t input_tokens = 0;
  uint32_t output_tokens = 1;  // at least 1
  // Names of the full blocks of the prompt and, where a later prompt repeats it, of the answer.
  std::vector<uint64_t> blocks{};
  std::string tenant{};
  std::string hint{};  // prompt_cache_key or user
};

struct Workload {
  std::string name;
  uint32_t block_tokens = 512;
  std::vector<SimulatedRequest> requests{};
};

// A trace of Mooncake's format: a JSON object per line with timestamp (ms), input_length,
// output_length and hash_ids (one per 512 tokens of the prompt). `speed` compresses time. Errors:
// NotFound, and InvalidArgument naming the line.
absl::StatusOr<Workload> ReadTrace(const std::string& path, double speed);

// How much there is of a generated workload. `rate` is of all requests, per second.
struct WorkloadSize {
  size_t requests = 4000;
  double rate = 10;
  uint64_t seed = 1;
};

// Conversations of 2 to 10 turns: each prompt is all that was said, and the client thinks for some
// seconds. A turn's text has 50 to 800 tokens, an answer 50 to 600.
Workload MakeChat(const WorkloadSize& size);
// One of 50 system prompts of 1,000 to 6,000 tokens, by a Zipf law, and a question of 50 to 500.
Workload MakeSharedPrompts(const WorkloadSize& size);
// One request in ten has 30,000 to 100,000 tokens, of documents that five to ten ask about; the
// others are chats of a few hundred tokens.
Workload MakeLongContext(const WorkloadSize& size);
// MakeChat's first turns with 8,000 tokens of which groups of 30 share 6,000, and bring their hint:
// a group arrives within one second, and groups come at random.
Workload MakeBursts(const WorkloadSize& size);
// One tenant sends nine tenths of all, in bursts; nine send the rest at random.
Workload MakeTenants(const WorkloadSize& size);

// The generated ones by name. Errors: InvalidArgument naming those there are.
absl::StatusOr<Workload> MakeWorkload(const std::string& name, const WorkloadSize& size);

}  // namespace pingti::bench
