// Qwen2 and Qwen2.5 (R1-Distill-Qwen among them): Llama with biases on q, k and v.
#pragma once

#include <string_view>

#include "worker/model/families/dense.h"
#include "worker/model/families/family.h"

namespace pingti::worker {

Family Qwen2Family();

// What Qwen2's config.json says, and that of a family which computes the same. `architecture`: its
// name for people. Errors: as of Family::from_hf.
absl::StatusOr<DenseOptions> ReadHfQwen2(const JsonFields& config, std::string_view architecture);

// A window from layer max_window_layers on, where use_sliding_window is set: Qwen3's too.
absl::Status ReadQwenWindows(const JsonFields& config, DenseOptions* options);

}  // namespace pingti::worker
