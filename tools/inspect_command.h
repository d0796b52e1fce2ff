// `pingti inspect MODEL`: what a checkpoint is, without loading it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pingti::tools {

struct InspectOptions {
  bool list_tensors = false;
  // A table of cards: how many sequences fit beside the weights in bf16, int8 and 4 bits, on the
  // first number of `cards` that holds the model.
  bool fit = false;
  std::vector<int> cards = {1, 2, 4, 8};  // in the order to try
  std::vector<int64_t> contexts = {};     // its columns, in tokens; empty: up to the model's own
  double memory_fraction = 0.95;          // of a card's memory, for the same
  bool expert_parallel = false;           // for the same, ranks hold whole experts
  bool shapes_only = false;               // a directory with config.json and no weights
};

// A report for people: architecture, sizes, weights by type, text assets, KV cache per token and
// what common contexts need; of a directory that holds a LoRA adapter, its ranks and modules.
// Errors: those of OpenCheckpoint or of ReadAdapter, and InvalidArgument where expert_parallel is
// asked of a model without experts; every message starts with the path.
absl::StatusOr<std::string> InspectModel(const std::string& path, const InspectOptions& options);

}  // namespace pingti::tools
