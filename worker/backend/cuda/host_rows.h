// Matrices of activations as dense f32 in host memory, and back; both wait for the stream. What is
// not of MakeHostBuffer is pageable, which the driver copies through memory of its own.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker::cuda {

// Page-locked. See Backend::AllocateHost.
absl::StatusOr<std::unique_ptr<HostBuffer>> MakeHostBuffer(int64_t num_values);

// See Backend::CopyToHost and CopyFromHost. `matrix` is f32 or bf16.
absl::Status CopyToHost(MatrixView matrix, std::span<float> values, cudaStream_t stream);
absl::Status CopyFromHost(std::span<const float> values, MatrixView matrix, cudaStream_t stream);

}  // namespace pingti::worker::cuda
