// Llama (Touvron et al., 2023) and what is built like it: R1-Distill-Llama, SmolLM2, TinyLlama. Its
// GGUF architecture is also that of Mixtral and Mistral.
#pragma once

#include "worker/model/families/family.h"

namespace pingti::worker {

Family LlamaFamily();

}  // namespace pingti::worker
