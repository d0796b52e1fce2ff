// Launcher of one instantiation of the mma.sync int8 GEMM. Included only by gemm_s8_mma_<m>.cu.
#pragma once

#include <algorithm>

#include "kernels/common/status.h"
#include "kernels/gemm/int8/mma/kernel.cuh"

namespace pingti::kernels {

template <int kBlockM>
cudaError_t LaunchGemmS8MmaAs(const GemmS8Params& params, cudaStream_t stream) {
  using Traits = GemmS8MmaTraits<kBlockM>;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const int k_blocks = CeilDiv(params.k, Traits::kBlockK);
  const int64_t tiles =
      int64_t{CeilDiv(params.m, Traits::kBlockM)} * CeilDiv(params.n, Traits::kBlockN);
  if (tiles * k_blocks > INT32_MAX) return cudaErrorInvalidValue;
  const int blocks = StreamKBlocks(static_cast<int>(tiles), k_blocks,
                                   std::min(device.num_sms, kGemmS8MmaMaxBlocks));
  auto* kernel = GemmS8MmaKernel<Traits>;
  PINGTI_CUDA_RETURN(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          Traits::kSharedBytes));
  kernel<<<blocks, Traits::kThreads, Traits::kSharedBytes, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace pingti::kernels
