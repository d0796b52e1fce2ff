// Whether what a worker says of a sequence can be true. A worker that errs, or is not what it says
// it is, must not make answers of others wrong or this process grow.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "router/worker_link/messages.h"

namespace pingti::router {

// What one sequence may still get.
struct OutputLimits {
  uint32_t vocab_size = 0;     // 0: not known
  uint32_t output_tokens = 0;  // more
  uint32_t prompt_scores = 0;  // more
};

// Alternatives beside one token, more than any API asks for.
inline constexpr size_t kMaxTopScores = 64;

// Errors: InvalidArgument naming what is wrong, the value and what was expected.
absl::Status CheckOutput(const SequenceOutput& output, const OutputLimits& limits);

}  // namespace pingti::router
