// MiMo-7B (Xiaomi 2025, "MiMo: Unlocking the Reasoning Potential of Language Model"): Qwen2 with
// modules for multi-token prediction, which read the state before the embedding.
// Sources: modeling_mimo.py of XiaomiMiMo/MiMo-7B-Base; vLLM's mimo.py and mimo_mtp.py for which
// states the module reads.
#pragma once

#include "worker/model/families/family.h"

namespace pingti::worker {

Family MimoFamily();

}  // namespace pingti::worker
