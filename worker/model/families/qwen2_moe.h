// Qwen1.5-MoE and Qwen2-MoE: Qwen2 with a mixture of experts, and one more expert that all tokens
// share, behind a gate of its own.
#pragma once

#include "worker/model/families/experts.h"
#include "worker/model/families/family.h"

namespace pingti::worker {

Family Qwen2MoeFamily();

// Qwen3-MoE's too.
extern const ExpertsNames kQwenExpertsNames;
// All but the shared expert.
absl::Status ReadQwenExperts(const JsonFields& config, int64_t num_layers, ExpertsOptions* options);

}  // namespace pingti::worker
