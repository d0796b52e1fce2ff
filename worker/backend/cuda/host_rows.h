// Matrices of activations as dense f32 in host memory, and back. For tools: both wait for the
// stream, through pageable memory.
#pragma once

#include <cuda_runtime_api.h>

#include <span>

#include "absl/status/status.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker::cuda {

// See Backend::CopyToHost and CopyFromHost. `matrix` is f32 or bf16.
absl::Status CopyToHost(MatrixView matrix, std::span<float> values, cudaStream_t stream);
absl::Status CopyFromHost(std::span<const float> values, MatrixView matrix, cudaStream_t stream);

}  // namespace pingti::worker::cuda
