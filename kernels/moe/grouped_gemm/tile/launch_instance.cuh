// Launcher of one instance of the wgmma grouped GEMM. Included only by instances/.
#pragma once

#include <algorithm>

#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "kernels/common/tensor_map.h"
#include "kernels/moe/grouped_gemm/tile/kernel.cuh"

namespace pingti::kernels {

template <typename Traits>
cudaError_t LaunchGroupedGemmTile(const GroupedGemmParams& params, cudaStream_t stream) {
  using Element = typename Traits::Element;
  constexpr auto kType =
      sizeof(Element) == 1 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  GroupedGemmTileArgs args = {};
  args.product = params;
  TensorMapShape w;
  w.rank = 3;
  w.dims[0] = static_cast<uint64_t>(params.k);
  w.dims[1] = static_cast<uint64_t>(params.n);
  w.dims[2] = static_cast<uint64_t>(params.num_experts);
  w.stride_bytes[0] = w.dims[0] * sizeof(Element);
  w.stride_bytes[1] = w.dims[1] * w.stride_bytes[0];
  w.box[0] = Traits::kStepElements;
  w.box[1] = Traits::kBlockN / Traits::kCluster;
  w.box[2] = 1;
  PINGTI_CUDA_RETURN(EncodeTensorMap(&args.map_w, kType, params.w, w, CU_TENSOR_MAP_SWIZZLE_128B));
  if constexpr (!Traits::kGathers) {
    PINGTI_CUDA_RETURN(EncodeMatrixMap(&args.map_x, kType, sizeof(Element), params.x,
                                       params.num_rows, params.k, params.x_stride, 64,
                                       Traits::kStepElements, CU_TENSOR_MAP_SWIZZLE_128B));
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  auto* kernel = GroupedGemmTileKernel<Traits>;
  PINGTI_CUDA_RETURN(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          Traits::kSharedBytes));
  const dim3 grid(device.num_sms / Traits::kCluster * Traits::kCluster);
  return LaunchOverlapped(kernel, grid, dim3(Traits::kThreads), Traits::kSharedBytes, stream,
                          device.compute_capability, args, Traits::kCluster);
}

template <typename T, int kBlockM, int kBlockN, int kCluster>
cudaError_t LaunchGroupedGemmTileAs(const GroupedGemmParams& params, cudaStream_t stream) {
  return params.x_row != nullptr
             ? LaunchGroupedGemmTile<GroupedGemmTileTraits<T, kBlockM, kBlockN, kCluster, true>>(
                   params, stream)
             : LaunchGroupedGemmTile<GroupedGemmTileTraits<T, kBlockM, kBlockN, kCluster, false>>(
                   params, stream);
}

}  // namespace pingti::kernels
