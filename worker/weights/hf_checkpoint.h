// A Hugging Face model directory: config.json, safetensors (one file or shards with an index), and
// the tokenizer's files. Internal to worker/weights.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

// `random_weights`: only the shapes that config.json gives; see random_tensors.h.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenHfCheckpoint(const std::string& directory,
                                                             bool random_weights);

}  // namespace pingti::worker
