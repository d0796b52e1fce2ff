// QWen v1 (QWenLMHeadModel): a Qwen2 in other words. Its config.json, tensor names and chat format
// are its own; what is computed is the same as long as the context stays within `seq_length`, where
// its stretched rotary embedding and log-n attention do nothing. Internal to worker/weights.
// Source: Qwen-7B's configuration_qwen.py, modeling_qwen.py and qwen_generation_utils.py.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/json_fields.h"

namespace pingti::worker {

inline constexpr char kQwen1Class[] = "QWenLMHeadModel";

// Everything of `config` but its architecture. Errors: as ParseHfConfig.
absl::Status ReadQwen1Config(const JsonFields& fields, ModelConfig* config);

// Gives the tensors Qwen2's names; q, k and v become views of their rows of c_attn.
// Errors: InvalidArgument naming a c_attn that does not have the rows of all three; Unimplemented
// naming a tensor that the family does not have.
absl::Status RenameQwen1Tensors(const ModelConfig& config, std::vector<TensorView>* tensors);

// ChatML and its stop tokens, which QWen's code writes instead of a template, for a checkpoint
// whose generation_config.json says "chat_format": "chatml" and that brings no template.
void AddQwen1ChatFormat(TextAssets* text);

}  // namespace pingti::worker
