// Opens a model on disk: finds its format and its family, and reads what it is made of.
// Next: families/family.h, load_model.h.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "worker/spec/decoder_spec.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

// Opens a .gguf file, any part of one that is split ("x-00001-of-0000N.gguf"), or a directory that
// holds one .gguf file, or all its parts, or config.json with safetensors.
// Whether the tensors are those of the model, LoadModel says.
// Errors: NotFound, InvalidArgument (malformed), Unimplemented (family, format or option that
// pingti lacks, by name). Every message starts with the path.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const std::string& path);

// A directory with config.json and, if there are any, the tokenizer's files: the tensors that the
// model's blocks declare, in bf16, have shapes and no data, so that backends draw random weights.
// For benchmarks of models whose weights are not at hand. Errors as above.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenRandomCheckpoint(const std::string& directory);

// The same as OpenCheckpoint of a GGUF file, from memory that must outlive the result; for tests
// and fuzzers. Errors: as above, without a path.
absl::StatusOr<Checkpoint::Parts> ParseGgufCheckpoint(std::string_view bytes);

// What a config.json describes. Errors: as above, without a path.
absl::StatusOr<DecoderSpec> ParseHfConfig(std::string_view config_json);

}  // namespace pingti::worker
