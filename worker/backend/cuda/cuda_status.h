// From CUDA's errors to absl::Status. Header and source are all there is to it.
//
// A sticky error, after which the device context takes no more work, becomes DataLoss: the engine
// stops at once on it (IsDeviceLost in worker/backend/backend.h), since only a new process helps.
#pragma once

#include <cuda_runtime_api.h>

#include <string_view>

#include "absl/status/status.h"

namespace pingti::worker::cuda {

// OK for cudaSuccess. Otherwise names `what`, the error and its description; also clears the
// runtime's last error. ResourceExhausted: out of memory. Unimplemented: cudaErrorNotSupported.
// DataLoss: sticky. Internal: every other.
absl::Status CudaStatus(cudaError_t error, std::string_view what);

}  // namespace pingti::worker::cuda

// Returns from the enclosing function unless `call` gives cudaSuccess.
#define PINGTI_RETURN_IF_CUDA_ERROR(call)                                  \
  do {                                                                     \
    const cudaError_t pingti_cuda_error = (call);                          \
    if (pingti_cuda_error != cudaSuccess) {                                \
      return ::pingti::worker::cuda::CudaStatus(pingti_cuda_error, #call); \
    }                                                                      \
  } while (false)
