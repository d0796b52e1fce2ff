#include "worker/backend/cuda/cuda_status.h"

#include <string>

#include "common/base/strings.h"

namespace pingti::worker::cuda {
namespace {

// After these every call on the context fails (CUDA runtime API, "Error Handling").
bool IsSticky(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorExternalDevice:
      return true;
    default:
      return false;
  }
}

}  // namespace

absl::Status CudaStatus(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  cudaGetLastError();
  const std::string message =
      Concat(what, ": ", cudaGetErrorName(error), " (", cudaGetErrorString(error), ")");
  if (IsSticky(error)) {
    return absl::DataLossError(Concat("the GPU takes no more work: ", message));
  }
  if (error == cudaErrorMemoryAllocation) return absl::ResourceExhaustedError(message);
  if (error == cudaErrorNotSupported) return absl::UnimplementedError(message);
  return absl::InternalError(message);
}

}  // namespace pingti::worker::cuda
