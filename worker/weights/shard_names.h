// Which files of a directory, or beside a file, are one model's. Internal to worker/weights and
// worker/model.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pingti::worker {

// The safetensors files of a Hugging Face directory, by name: those that
// model.safetensors.index.json maps tensors to; without an index model.safetensors, or the series
// "x-00001-of-0000N.safetensors", or the only one there is.
// Errors: InvalidArgument (a broken index, a series with a gap), NotFound, Unimplemented
// (pytorch_model.bin: says how to convert it).
absl::StatusOr<std::set<std::string>> SafetensorsNames(const std::string& directory);

// The paths of the parts of a GGUF model, in order, from the path of any of them:
// "x-00001-of-0000N.gguf" is split into N. Any other name stands for itself.
// Errors: InvalidArgument when the numbers make no sense. Whether the files exist is not asked.
absl::StatusOr<std::vector<std::string>> GgufParts(const std::string& path);

}  // namespace pingti::worker
