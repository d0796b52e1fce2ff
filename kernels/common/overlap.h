// Programmatic dependent launch: a kernel launched this way may start while the one before it in the
// stream drains, so that its prologue hides. Its device code must call WaitForPriorKernels()
// (mbarrier.cuh) before it touches anything an earlier kernel writes or reads, and
// LetNextKernelStart() to pass the favour on. Header-only, thread-safe, graph-capturable.
//
// On devices before sm_90 this is an ordinary launch.
#pragma once

#include <cuda_runtime.h>

namespace pingti::kernels {

template <typename... KernelArgs, typename... Args>
cudaError_t LaunchOverlapped(void (*kernel)(KernelArgs...), dim3 grid, dim3 block,
                             size_t shared_bytes, cudaStream_t stream, int compute_capability,
                             const Args&... args) {
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = compute_capability >= 90 ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, args...);
}

}  // namespace pingti::kernels
