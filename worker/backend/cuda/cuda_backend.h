// The backend for NVIDIA GPUs of compute capability 8.0 and newer, on pingti's kernels
// (kernels/include) and, for bf16 products, cuBLASLt. Activations are bf16, logits f32.
//
// All work goes to one stream, in order. Decode steps are replayed from CUDA graphs; the host waits
// for the device only where sampled tokens are fetched. Next: cuda_linear.h, cuda_attention.h,
// step_arrays.h, step_graphs.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"

namespace pingti::worker {

struct CudaBackendOptions {
  int device = 0;      // index among the devices that the process sees
  bool graphs = true;  // record decode steps
};

// Errors: NotFound (no device, or no driver), Unimplemented (a device that the kernels do not run
// on, by name), InvalidArgument (device index).
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaBackendOptions& options);

struct CudaDeviceFacts {
  std::string name;  // "NVIDIA H100 80GB HBM3"
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
};
// Errors as for MakeCudaBackend.
absl::StatusOr<CudaDeviceFacts> ReadCudaDevice(int device);

}  // namespace pingti::worker
