// The tensors that a model of a given shape has, without data: backends draw random weights for
// them. For benchmarks of models whose weights are not at hand. Internal to worker/weights.
#pragma once

#include <vector>

#include "worker/tensor/tensor_view.h"
#include "worker/weights/model_config.h"

namespace pingti::worker {

// bf16 tensors under Hugging Face's names; data is null.
std::vector<TensorView> ListRandomTensors(const ModelConfig& config);

}  // namespace pingti::worker
