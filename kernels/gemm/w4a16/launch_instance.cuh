// Launcher of one instantiation of the weight-only GEMM. Included only by gemm_w4a16_<..>.cu files.
#pragma once

#include <algorithm>

#include "kernels/common/status.h"
#include "kernels/gemm/w4a16/kernel.cuh"

namespace pingti::kernels {

template <int kBits, int kTokens, int kSteps>
cudaError_t LaunchGemmW4A16As(const GemmW4A16Args& args, cudaStream_t stream) {
  using Traits = GemmW4A16Traits<kBits, kTokens, kSteps>;
  if (args.m > kTokens) return cudaErrorInvalidValue;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const int blocks =
      StreamKBlocks(CeilDiv(args.n, Traits::kBlockRows), CeilDiv(args.k, Traits::kStageK),
                    Traits::kBlocksPerSm * std::min(device.num_sms, kGemmW4A16MaxSms));

  auto* kernel = GemmW4A16Kernel<Traits>;
  PINGTI_CUDA_RETURN(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          Traits::kSharedBytes));
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks;
  config.blockDim = Traits::kThreads;
  config.dynamicSmemBytes = Traits::kSharedBytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = device.compute_capability >= 90 ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, args);
}

}  // namespace pingti::kernels
