// Qwen3: Llama with an RMS norm of every query and key head before rotation.
#pragma once

#include "worker/model/families/family.h"

namespace pingti::worker {

Family Qwen3Family();

}  // namespace pingti::worker
