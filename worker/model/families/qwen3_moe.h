// Qwen3-MoE (Qwen3-30B-A3B, Qwen3-235B-A22B): Qwen3 with a mixture of experts.
#pragma once

#include "worker/model/families/family.h"

namespace pingti::worker {

Family Qwen3MoeFamily();

}  // namespace pingti::worker
