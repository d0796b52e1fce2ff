// Phi-3 (Abdin et al., 2024): Llama with one module for q, k and v and one for gate and up. Its
// long-context variants (longrope, partial rotary) are refused by name.
#pragma once

#include "worker/model/families/family.h"

namespace pingti::worker {

Family Phi3Family();

}  // namespace pingti::worker
