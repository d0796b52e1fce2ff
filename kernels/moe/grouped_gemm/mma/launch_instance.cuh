// Launcher of one instance of the grouped GEMM. Included only by instances/.
#pragma once

#include <algorithm>

#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "kernels/moe/grouped_gemm/mma/kernel.cuh"

namespace pingti::kernels {

template <typename T, int kBlockRows>
cudaError_t LaunchGroupedGemmMmaAs(const GroupedGemmParams& params, int row_blocks,
                                   cudaStream_t stream) {
  using Traits = GroupedGemmMmaTraits<T, kBlockRows>;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  auto* kernel = GroupedGemmMmaKernel<T, Traits>;
  PINGTI_CUDA_RETURN(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          Traits::kSharedBytes));
  const dim3 grid(CeilDiv(params.n, Traits::kBlockCols),
                  std::min(params.num_experts, params.num_rows), row_blocks);
  return LaunchOverlapped(kernel, grid, dim3(Traits::kThreads), Traits::kSharedBytes, stream,
                          device.compute_capability, params);
}

}  // namespace pingti::kernels
