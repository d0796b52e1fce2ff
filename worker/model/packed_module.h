// Finds the tensors of a packed module (GPTQ, AWQ, compressed-tensors) in a checkpoint and checks
// that they mean one matrix. Part of load_model.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/tensor/packed_weights.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

struct PackedModule {
  PackedWeights weights;
  std::vector<const TensorView*> tensors;  // all that belong to it, of the checkpoint
};

// For messages: "tensor 'model.norm.weight' BF16 [576]".
std::string DescribeTensor(const TensorView& tensor);

// Whether `module` ("model.layers.0.mlp.up_proj") has its values packed in words.
bool HasPackedModule(const Checkpoint& checkpoint, const std::string& module);

// `module` as a matrix [rows, cols]. REQUIRES: the checkpoint's matrices are packed.
// Errors: InvalidArgument or Unimplemented naming the tensor and what was expected.
absl::StatusOr<PackedModule> FindPackedModule(const Checkpoint& checkpoint,
                                              const std::string& module, int64_t rows,
                                              int64_t cols);

}  // namespace pingti::worker
