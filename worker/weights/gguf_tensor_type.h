// The numbers by which GGUF files call tensor types (source: ggml_type of the GGUF specification).
// Pure functions; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "worker/tensor/dtype.h"

namespace pingti::worker {

// Nullopt for a type that pingti does not read.
std::optional<DType> GgufTensorType(uint32_t type);

// "Q4_K" for every type that the specification names, whether pingti reads it or not; "unknown".
std::string_view GgufTensorTypeName(uint32_t type);

}  // namespace pingti::worker
