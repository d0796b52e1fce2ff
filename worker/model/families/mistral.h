// Mistral 7B (Jiang et al., 2023): Llama with attention to a window. GGUF files call it llama.
#pragma once

#include "worker/model/families/family.h"

namespace pingti::worker {

Family MistralFamily();

}  // namespace pingti::worker
