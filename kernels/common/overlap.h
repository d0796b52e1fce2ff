// Programmatic dependent launch: a kernel launched this way may start while the one before it in
// the stream drains, so that its prologue hides. Its device code must call WaitForPriorKernels()
// (mbarrier.cuh) before it touches anything an earlier kernel writes or reads, and
// LetNextKernelStart() to pass the favour on. Header-only, thread-safe, graph-capturable.
//
// On devices before sm_90 this is an ordinary launch.
#pragma once

#include <cuda_runtime.h>

namespace pingti::kernels {

// `compute_capability` of the current device (ReadDeviceTraits); `cluster` blocks along x, sm_90
// only. `may_overlap` false: an ordinary launch.
template <typename Params>
cudaError_t LaunchOverlapped(void (*kernel)(Params), dim3 grid, dim3 block, size_t shared_bytes,
                             cudaStream_t stream, int compute_capability, const Params& params,
                             int cluster = 1, bool may_overlap = true) {
  cudaLaunchAttribute attributes[2];
  unsigned count = 0;
  if (compute_capability >= 90 && may_overlap) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (compute_capability >= 90 && cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  return cudaLaunchKernelEx(&config, kernel, params);
}

}  // namespace pingti::kernels
