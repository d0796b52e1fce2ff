// How far a quantized model's predictions of a text are from the original's. Next: layer_runner.h,
// which brings both models' last hidden states.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/weights/checkpoint.h"

namespace pingti::tools {

struct TextQuality {
  int64_t num_tokens = 0;  // that were predicted
  double perplexity_original = 0.0;
  double perplexity_quantized = 0.0;
  double kl_mean = 0.0;  // KL(original || quantized), nats
  double kl_max = 0.0;
  double same_top = 0.0;  // share of predictions in which both find the same token likeliest
};

struct LogitComparison {
  struct Target {
    int64_t row;
    int32_t token_id;  // that came next
  };
  const worker::Checkpoint& checkpoint;  // for the last norm and the output projection
  worker::Backend* backend;              // workspace allocated
  worker::WeightFormat format;
  worker::MatrixView original;   // [tokens, hidden], before the last norm
  worker::MatrixView quantized;  // the same
  std::vector<Target> targets;
};

// Errors: as the backend's; InvalidArgument when logits are not finite.
absl::StatusOr<TextQuality> Compare(const LogitComparison& comparison);

}  // namespace pingti::tools
