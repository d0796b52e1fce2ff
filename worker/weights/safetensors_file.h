// Reads the header of one safetensors file (source: the format's README at
// huggingface/safetensors): 8 bytes of length, a JSON object, then the tensors' bytes without gaps.
// Lengths, shapes and offsets are checked before use; a truncated or hostile file gives an error
// that names the tensor. Next: hf_checkpoint.cc.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

// Views into `bytes`, which must outlive them, in the order of their data. Errors: InvalidArgument
// (malformed), Unimplemented (dtype). Messages do not hold the path: the caller adds it.
absl::StatusOr<std::vector<TensorView>> ParseSafetensors(std::string_view bytes);

}  // namespace pingti::worker
