// QWen v1 (QWenLMHeadModel): a Qwen2 in other words. Its config.json, tensor names and chat format
// are its own; what is computed is the same as long as the context stays within `seq_length`, where
// its stretched rotary embedding and log-n attention do nothing.
// Source: Qwen-7B's configuration_qwen.py, modeling_qwen.py and qwen_generation_utils.py.
#pragma once

#include "worker/model/families/family.h"

namespace pingti::worker {

Family QwenFamily();

}  // namespace pingti::worker
