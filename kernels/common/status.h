// Error plumbing for launchers and host helpers: cudaError_t is the only error type of kernels/.
// Header-only, host side, thread-safe.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

// Returns the error of `expression` from the enclosing function unless it is cudaSuccess.
#define PINGTI_CUDA_RETURN(expression)                                                \
  do {                                                                                \
    if (const cudaError_t pingti_error = (expression); pingti_error != cudaSuccess) { \
      return pingti_error;                                                            \
    }                                                                                 \
  } while (false)

namespace pingti::kernels {

// What a launcher needs to know of the current device. Attribute reads cost well under a
// microsecond and are allowed while a graph is being captured.
struct DeviceTraits {
  int num_sms = 0;
  int compute_capability = 0;  // 80, 86, 90, ...
  int memory_bus_bits = 0;     // 5,120 of an H100, more of an H200
};

inline cudaError_t ReadDeviceTraits(DeviceTraits* traits) {
  int device = 0;
  int major = 0;
  int minor = 0;
  PINGTI_CUDA_RETURN(cudaGetDevice(&device));
  PINGTI_CUDA_RETURN(
      cudaDeviceGetAttribute(&traits->num_sms, cudaDevAttrMultiProcessorCount, device));
  PINGTI_CUDA_RETURN(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  PINGTI_CUDA_RETURN(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  PINGTI_CUDA_RETURN(
      cudaDeviceGetAttribute(&traits->memory_bus_bits, cudaDevAttrGlobalMemoryBusWidth, device));
  traits->compute_capability = 10 * major + minor;
  return cudaSuccess;
}

// True of null as well.
inline bool IsAligned(const void* pointer, uintptr_t bytes = 16) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

// Not null, and aligned.
inline bool IsPresent(const void* pointer, uintptr_t bytes = 16) {
  return pointer != nullptr && IsAligned(pointer, bytes);
}

constexpr int CeilDiv(int value, int divisor) { return (value + divisor - 1) / divisor; }

}  // namespace pingti::kernels
