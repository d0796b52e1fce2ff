// Launcher of one instantiation of the decode int8 GEMM, and what the split one shares with it.
// Included only by instances/*.cu of both.
#pragma once

#include <algorithm>

#include "kernels/common/status.h"
#include "kernels/common/tensor_map.h"
#include "kernels/gemm/int8/stream/kernel.cuh"

namespace pingti::kernels {

// Launches `kernel`, which streams weights as Traits has it, in `blocks` blocks in clusters of
// `cluster`. kernel(map_a, map_w, GemmS8StreamArgs).
template <typename Traits, typename Kernel>
cudaError_t LaunchStreaming(Kernel* kernel, const GemmS8Params& params, int blocks, int cluster,
                            cudaStream_t stream) {
  if (params.m > Traits::kTokens) return cudaErrorInvalidValue;
  CUtensorMap map_a;
  CUtensorMap map_w;
  PINGTI_CUDA_RETURN(EncodeMatrixMap(
      &map_a, CU_TENSOR_MAP_DATA_TYPE_UINT8, 1, params.a, params.m, params.k, params.a_row_stride,
      Traits::kTokens / Traits::kCluster, Traits::kBlockK, CU_TENSOR_MAP_SWIZZLE_128B));
  PINGTI_CUDA_RETURN(EncodeMatrixMap(&map_w, CU_TENSOR_MAP_DATA_TYPE_UINT8, 1, params.w, params.n,
                                     params.k, params.w_row_stride, Traits::kRows, Traits::kBlockK,
                                     CU_TENSOR_MAP_SWIZZLE_128B));
  auto* bytes = static_cast<uint8_t*>(params.workspace);
  const GemmS8StreamArgs args = {
      params.m,
      params.n,
      params.k,
      params.token_scale,
      params.channel_scale,
      params.bias,
      params.residual,
      params.residual_row_stride,
      params.y,
      params.y_row_stride,
      params.accumulators,
      reinterpret_cast<uint32_t*>(bytes),
      reinterpret_cast<int32_t*>(bytes + kGemmS8StreamCounterBytes),
  };
  PINGTI_CUDA_RETURN(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          Traits::kSharedBytes));
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = static_cast<unsigned>(cluster);
  attributes[1].val.clusterDim.y = 1;
  attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = static_cast<unsigned>(blocks);
  config.blockDim = Traits::kThreads;
  config.dynamicSmemBytes = Traits::kSharedBytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  return cudaLaunchKernelEx(&config, kernel, map_a, map_w, args);
}

template <typename Traits, bool kRaw>
cudaError_t LaunchGemmS8StreamKernel(const GemmS8Params& params, cudaStream_t stream) {
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const int owners = StreamKBlocks(
      CeilDiv(params.n, Traits::kRows * Traits::kCluster), CeilDiv(params.k, Traits::kBlockK),
      std::min(device.num_sms, kGemmS8StreamMaxBlocks) / Traits::kCluster);
  return LaunchStreaming<Traits>(GemmS8StreamKernel<Traits, kRaw>, params,
                                 owners * Traits::kCluster, Traits::kCluster, stream);
}

template <int kTokens, int kStages, int kCluster>
cudaError_t LaunchGemmS8StreamAs(const GemmS8Params& params, cudaStream_t stream) {
  using Traits = GemmS8StreamTraits<kTokens, kStages, kCluster>;
  return params.accumulators != nullptr ? LaunchGemmS8StreamKernel<Traits, true>(params, stream)
                                        : LaunchGemmS8StreamKernel<Traits, false>(params, stream);
}

}  // namespace pingti::kernels
