// Launcher of one instantiation of the int8 GEMM whose clusters share a tile's k. Included by
// instances/*.cu only.
#pragma once

#include "kernels/common/status.h"
#include "kernels/common/tensor_map.h"
#include "kernels/gemm/int8/split/kernel.cuh"

namespace pingti::kernels {

template <typename Traits, bool kRaw>
cudaError_t LaunchGemmS8SplitKernel(const GemmS8Params& params, cudaStream_t stream) {
  if (params.m > Traits::kTokens) return cudaErrorInvalidValue;
  CUtensorMap map_a;
  CUtensorMap map_w;
  PINGTI_CUDA_RETURN(EncodeMatrixMap(&map_a, CU_TENSOR_MAP_DATA_TYPE_UINT8, 1, params.a, params.m,
                                     params.k, params.a_row_stride, Traits::kTokens,
                                     Traits::kBlockK, CU_TENSOR_MAP_SWIZZLE_128B));
  PINGTI_CUDA_RETURN(EncodeMatrixMap(&map_w, CU_TENSOR_MAP_DATA_TYPE_UINT8, 1, params.w, params.n,
                                     params.k, params.w_row_stride, Traits::kRows, Traits::kBlockK,
                                     CU_TENSOR_MAP_SWIZZLE_128B));
  GemmS8StreamArgs args = {};
  args.m = params.m;
  args.n = params.n;
  args.k = params.k;
  args.token_scale = params.token_scale;
  args.channel_scale = params.channel_scale;
  args.bias = params.bias;
  args.residual = params.residual;
  args.residual_row_stride = params.residual_row_stride;
  args.y = params.y;
  args.y_row_stride = params.y_row_stride;
  args.accumulators = params.accumulators;
  auto* kernel = GemmS8SplitKernel<Traits, kRaw>;
  PINGTI_CUDA_RETURN(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          Traits::kSharedBytes));
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {Traits::kSplit, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = CeilDiv(params.n, Traits::kRows) * Traits::kSplit;
  config.blockDim = Traits::kThreads;
  config.dynamicSmemBytes = Traits::kSharedBytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  return cudaLaunchKernelEx(&config, kernel, map_a, map_w, args);
}

template <int kTokens, int kStages, int kSplit>
cudaError_t LaunchGemmS8SplitAs(const GemmS8Params& params, cudaStream_t stream) {
  using Traits = GemmS8SplitTraits<kTokens, kStages, kSplit>;
  return params.accumulators != nullptr ? LaunchGemmS8SplitKernel<Traits, true>(params, stream)
                                        : LaunchGemmS8SplitKernel<Traits, false>(params, stream);
}

}  // namespace pingti::kernels
