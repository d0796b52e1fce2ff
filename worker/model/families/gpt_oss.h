// gpt-oss-20b and gpt-oss-120b (OpenAI 2025, "gpt-oss-120b & gpt-oss-20b Model Card"): a mixture of
// experts in every layer, with biases, MXFP4 weights and a clamped gate; every second layer sees a
// window; a sink per head takes part in attention's softmax.
#pragma once

#include "worker/model/families/family.h"

namespace pingti::worker {

Family GptOssFamily();

}  // namespace pingti::worker
