// Qwen2 and Qwen2.5 (R1-Distill-Qwen among them): Llama with biases on q, k and v.
#pragma once

#include "worker/model/families/dense.h"
#include "worker/model/families/family.h"

namespace pingti::worker {

Family Qwen2Family();

// A window from layer max_window_layers on, where use_sliding_window is set: Qwen3's too.
absl::Status ReadQwenWindows(const JsonFields& config, DenseOptions* options);

}  // namespace pingti::worker
