// Gives the keys and tensors of a GGUF file their meaning. Internal to worker/weights.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

// The same as OpenGgufCheckpoint, from memory that must outlive the result; for tests and fuzzers.
absl::StatusOr<Checkpoint::Parts> ParseGgufCheckpoint(std::string_view bytes);

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenGgufCheckpoint(const std::string& path);

}  // namespace pingti::worker
