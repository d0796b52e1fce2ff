// Launcher of one instantiation of the prefill int8 GEMM: encodes the tensor maps and launches.
// Included only by the gemm_s8_tile_<block_n>.cu files.
#pragma once

#include <algorithm>

#include "kernels/common/status.h"
#include "kernels/common/tensor_map.h"
#include "kernels/gemm/int8/tile/kernel.cuh"

namespace pingti::kernels {

template <typename Traits, bool kRaw>
cudaError_t LaunchGemmS8TileKernel(const GemmS8Params& params, int group_m, cudaStream_t stream) {
  CUtensorMap map_a;
  CUtensorMap map_w;
  CUtensorMap map_y = {};
  PINGTI_CUDA_RETURN(EncodeMatrixMap(&map_a, CU_TENSOR_MAP_DATA_TYPE_UINT8, 1, params.a, params.m,
                                     params.k, params.a_row_stride, 64, Traits::kBlockK,
                                     CU_TENSOR_MAP_SWIZZLE_128B));
  PINGTI_CUDA_RETURN(EncodeMatrixMap(
      &map_w, CU_TENSOR_MAP_DATA_TYPE_UINT8, 1, params.w, params.n, params.k, params.w_row_stride,
      Traits::kBlockN / Traits::kCluster, Traits::kBlockK, CU_TENSOR_MAP_SWIZZLE_128B));
  if constexpr (!kRaw) {
    PINGTI_CUDA_RETURN(EncodeMatrixMap(
        &map_y, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, params.y, params.m, params.n,
        params.y_row_stride, 64, Traits::kStoreN,
        Traits::kStoreN == 64 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B));
  }
  const GemmS8TileArgs args = {params.m,
                               params.n,
                               params.k,
                               group_m,
                               params.token_scale,
                               params.channel_scale,
                               params.bias,
                               params.residual,
                               params.residual_row_stride,
                               params.accumulators};
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const int tiles =
      CeilDiv(params.m, Traits::kBlockM * Traits::kCluster) * CeilDiv(params.n, Traits::kBlockN);

  auto* kernel = GemmS8TileKernel<Traits, kRaw>;
  PINGTI_CUDA_RETURN(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          Traits::kSharedBytes));
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {Traits::kCluster, 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = Traits::kCluster * std::min(tiles, device.num_sms / Traits::kCluster);
  config.blockDim = Traits::kThreads;
  config.dynamicSmemBytes = Traits::kSharedBytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  return cudaLaunchKernelEx(&config, kernel, map_a, map_w, map_y, args);
}

template <int kBlockN, int kStages, int kCluster>
cudaError_t LaunchGemmS8TileAs(const GemmS8Params& params, int group_m, cudaStream_t stream) {
  using Traits = GemmS8TileTraits<kBlockN, kStages, kCluster>;
  return params.accumulators != nullptr
             ? LaunchGemmS8TileKernel<Traits, true>(params, group_m, stream)
             : LaunchGemmS8TileKernel<Traits, false>(params, group_m, stream);
}

}  // namespace pingti::kernels
