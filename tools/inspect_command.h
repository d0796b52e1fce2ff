// `pingti inspect MODEL`: what a checkpoint is, without loading it.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace pingti::tools {

// A report for people: architecture, sizes, weights by type, text assets, KV cache per token and
// what common contexts need. `list_tensors` adds a line per tensor. Errors: those of
// OpenCheckpoint; every message starts with the path.
absl::StatusOr<std::string> InspectModel(const std::string& path, bool list_tensors);

}  // namespace pingti::tools
