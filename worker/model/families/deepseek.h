// DeepSeek-V2, V2-Lite, V3 and R1, and what is built like them (Moonlight, Kimi K2): latent
// attention, and experts of which some are shared by all tokens. Sources: DeepSeek-AI,
// "DeepSeek-V2: A Strong, Economical, and Efficient Mixture-of-Experts Language Model" (2024) and
// "DeepSeek-V3 Technical Report" (2024); names and defaults are those of config.json and
// transformers.
#pragma once

#include "worker/model/families/family.h"

namespace pingti::worker {

Family DeepseekV2Family();
Family DeepseekV3Family();

}  // namespace pingti::worker
