// EAGLE-3 heads as SafeAILab's, SGLang's and vLLM's tools write them: config.json with
// `LlamaForCausalLMEagle3`, one layer, and hidden states of three layers of the model.
// Sources: Li et al. 2025, "EAGLE-3"; github.com/SafeAILab/EAGLE; the loaders of SGLang and vLLM
// for names and defaults.
#pragma once

#include "absl/status/statusor.h"
#include "worker/spec/draft_head_spec.h"
#include "worker/weights/json_fields.h"

namespace pingti::worker {

// A head for the model. Tensors' names are those that Eagle3TensorName makes.
// Errors: InvalidArgument naming the field, its value and what was expected; Unimplemented naming
// an option that pingti lacks.
absl::StatusOr<DraftHeadSpec> ReadEagle3Config(const JsonFields& config, const DecoderSpec& model);

// The one name of a tensor that tools name differently: "midlayer." and "layers.0.", with "model."
// before it or without.
std::string Eagle3TensorName(std::string_view name);

}  // namespace pingti::worker
