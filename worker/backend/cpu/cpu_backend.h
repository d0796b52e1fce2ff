// The backend for processors without a GPU: laptops, tests, the demo. Activations are float32
// between matrix products; weights are packed into panels (packed_matrix.h) and multiplied by
// vector kernels for the instruction set at hand (cpu_kernels.h). A row's result is bitwise
// independent of the batch it is computed in.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"

namespace pingti::worker {

struct CpuBackendOptions {
  int num_threads = 0;  // 0: one per processor that this process may run on
  std::string kernels;  // "avx512", "avx2", "portable"; empty: the best that runs here
};

// Errors: InvalidArgument (threads), Unimplemented (kernels that this processor lacks).
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuBackendOptions& options);

}  // namespace pingti::worker
