// Whether a request can be served here at all. Pure; thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/request.h"

namespace pingti::worker {

// Lists that a request may name, as router/api/limits.h has them; a router adds a few stop ids of
// the model to its client's.
inline constexpr size_t kMaxStopTokenIds = 1'024 + 64;
inline constexpr size_t kMaxLogitBiases = 1'024;
// As many as a client may send.
inline constexpr size_t kMaxStopTexts = 16;
inline constexpr size_t kMaxStopTextBytes = 16'384;  // of all together

// What bounds a request on this worker.
struct RequestLimits {
  int32_t vocab_size = 0;
  int32_t max_context_tokens = 0;  // prompt and output; never more than the KV cache holds
  int32_t max_batch_size = 0;
  int32_t max_top_logprobs = 20;
  std::vector<int32_t> eos_token_ids;
  bool grammars = false;  // the tokens' texts are known, for constrained decoding and stop_texts
};

// The tokens that end the request's output, ascending, none twice.
std::vector<int32_t> StopTokens(const Request& request, const RequestLimits& limits);

// Errors: InvalidArgument or OutOfRange that names the proto field, its value and what is expected.
absl::Status ValidateRequest(const Request& request, const RequestLimits& limits);

}  // namespace pingti::worker
