// The limits of a request that depend on no model, alike for every API and transport. Checked as
// soon as a request is read, before anything is allocated or repeated by a number that it names.
#pragma once

#include "absl/status/status.h"
#include "router/api/request.h"

namespace pingti::router {

inline constexpr uint32_t kMaxChoices = 128;        // n, best_of, num_beams
inline constexpr size_t kMaxSequences = 2'048;      // prompts times these
inline constexpr size_t kMaxStops = 16;             // strings
inline constexpr size_t kMaxStopBytes = 16u << 10;  // of all of them
inline constexpr size_t kMaxStopTokenIds = 1'024;
inline constexpr size_t kMaxLogitBiases = 1'024;
inline constexpr size_t kMaxMessages = 16'384;   // of a chat
inline constexpr size_t kMaxToolCalls = 16'384;  // of all its messages
inline constexpr size_t kMaxTools = 1'024;
inline constexpr int32_t kMaxPriority = 1'000'000;  // and as far below 0

struct ChatSize {
  size_t messages = 0;
  size_t tool_calls = 0;
  size_t tools = 0;
};

// Both: InvalidArgument naming the field as the HTTP API spells it.
absl::Status CheckLimits(const ChatSize& chat);
absl::Status CheckLimits(const GenerationRequest& request);

}  // namespace pingti::router
