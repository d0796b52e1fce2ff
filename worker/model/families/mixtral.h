// Mixtral (Jiang et al., 2024): Llama with a mixture of experts in every layer. GGUF files call it
// llama.
#pragma once

#include "worker/model/families/family.h"

namespace pingti::worker {

Family MixtralFamily();

// How Mixtral chooses experts, which no file says: weights of a token's experts sum to 1.
inline constexpr bool kMixtralNormalizes = true;

}  // namespace pingti::worker
