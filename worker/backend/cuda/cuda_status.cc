#include "worker/backend/cuda/cuda_status.h"

#include <string>

#include "common/base/strings.h"

namespace pingti::worker::cuda {
namespace {

// After these every call on the context fails. Those of which the runtime's documentation says that
// the process must be terminated and relaunched, and those that a lost context or card gives.
bool IsSticky(cudaError_t error) {
  switch (error) {
    case cudaErrorContained:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorMpsClientTerminated:
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
  const std::string message = Concat("CUDA error ", cudaGetErrorName(error), " (",
                                     cudaGetErrorString(error), ") at ", what);
  if (IsSticky(error)) {
    return absl::DataLossError(
        Concat(message, "; the device is unusable until the process restarts"));
  }
  if (error == cudaErrorMemoryAllocation) return absl::ResourceExhaustedError(message);
  if (error == cudaErrorNotSupported) return absl::UnimplementedError(message);
  return absl::InternalError(message);
}

}  // namespace pingti::worker::cuda
