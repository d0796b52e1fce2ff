// Falcon (Almazrouei et al., "The Falcon Series of Open Language Models", 2023), whose layers come
// in three forms: 7B's parallel blocks with multi-query attention, the "new decoder architecture"
// of 11B, 40B and 180B with grouped keys and values, and RefinedWeb's sequential ones with ALiBi.
// Layer norms with bias, plain GELU.
// Sources: transformers' configuration_falcon.py and modeling_falcon.py; llama.cpp's converter for
// the names and the order of rows in GGUF files.
#pragma once

#include "worker/model/families/family.h"

namespace pingti::worker {

Family FalconFamily();

}  // namespace pingti::worker
