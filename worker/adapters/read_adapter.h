// Reads an adapter that PEFT saved: a directory with adapter_config.json and
// adapter_model.safetensors. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/adapters/adapter.h"

namespace pingti::worker {

// Whether a base model has the modules, CheckAdapter says (worker/model/adapter_weights.h).
// Errors: NotFound, InvalidArgument, Unimplemented (DoRA, embeddings and so on, by name); every
// message starts with the file's path.
absl::StatusOr<std::unique_ptr<Adapter>> ReadAdapter(const std::string& name,
                                                     const std::string& directory);

}  // namespace pingti::worker
