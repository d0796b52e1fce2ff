// Reads a Hugging Face config.json. Internal to worker/weights.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/hf_quantization.h"

namespace pingti::worker {

struct HfConfig {
  ModelConfig model;
  HfQuantization quantization;
  std::optional<int64_t> bos_token_id;
  std::vector<int64_t> eos_token_ids;
  std::optional<int64_t> pad_token_id;
};

// Errors: InvalidArgument naming the field, its value and what was expected; Unimplemented naming
// the family or option that pingti lacks.
absl::StatusOr<HfConfig> ParseHfConfig(std::string_view config_json);

}  // namespace pingti::worker
