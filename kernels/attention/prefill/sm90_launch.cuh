// Host side of sm90_kernel.cuh: tensor maps and the launch. Included by the instantiation files
// only.
#pragma once

#include <algorithm>
#include <bit>

#include "kernels/attention/kv_map.h"
#include "kernels/attention/prefill/sm90_kernel.cuh"
#include "kernels/attention/prefill/variants.h"
#include "kernels/common/status.h"
#include "kernels/common/tensor_map.h"

namespace pingti::kernels::prefill {

// q as [token, head, dim] in boxes of tile_rows tokens of one head and 64 dims.
inline cudaError_t EncodeQ(CUtensorMap* map, const PrefillAttentionParams& params,
                           CUtensorMapDataType dtype, int tile_rows) {
  TensorMapShape shape;
  shape.rank = 3;
  shape.dims[0] = params.kv.head_dim;
  shape.dims[1] = params.num_q_heads;
  shape.dims[2] = params.total_q_tokens;
  shape.stride_bytes[0] = params.q_head_stride * 2;
  shape.stride_bytes[1] = params.q_token_stride * 2;
  shape.box[0] = 64;
  shape.box[1] = 1;
  shape.box[2] = tile_rows;
  return EncodeTensorMap(map, dtype, params.q, shape, CU_TENSOR_MAP_SWIZZLE_128B);
}

// params' own numbers, less what the tensor maps hold.
inline Sm90Args MakeSm90Args(const PrefillAttentionParams& params) {
  Sm90Args args;
  args.items = Items(params.workspace);
  args.header = static_cast<PlanHeader*>(params.workspace);
  args.out = params.out;
  args.out_token_stride = params.out_token_stride;
  args.out_head_stride = params.out_head_stride;
  args.block_table = params.kv.block_table;
  args.block_table_stride = params.kv.block_table_stride;
  args.num_kv_heads = params.kv.num_kv_heads;
  args.group = params.num_q_heads / params.kv.num_kv_heads;
  args.num_pages = params.kv.num_pages;
  args.page_shift = std::countr_zero(static_cast<uint32_t>(params.kv.page_tokens));
  args.box_tokens = std::min(params.kv.page_tokens, kMaxBoxTokens);
  args.scale_log2 = params.softmax_scale * 1.44269504f;
  args.causal = params.causal;
  args.window = params.window;
  args.sinks = params.sinks;
  return args;
}

template <class Tr>
cudaError_t LaunchSm90Traits(const PrefillAttentionParams& params, cudaStream_t stream) {
  constexpr auto dtype = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  CUtensorMap q_map, k_map, v_map;
  PINGTI_CUDA_RETURN(EncodeQ(&q_map, params, dtype, Tr::kRows));
  PINGTI_CUDA_RETURN(EncodeKvPool(&k_map, params.kv, params.kv.k, dtype, 64, kMaxBoxTokens,
                                  CU_TENSOR_MAP_SWIZZLE_128B));
  PINGTI_CUDA_RETURN(EncodeKvPool(&v_map, params.kv, params.kv.v, dtype, 64, kMaxBoxTokens,
                                  CU_TENSOR_MAP_SWIZZLE_128B));
  constexpr int kSharedBytes = sizeof(Sm90Shared<Tr>) + 1024;  // room to align
  static_assert(kSharedBytes <= 227 * 1024, "more than a block can have");
  PINGTI_CUDA_RETURN(cudaFuncSetAttribute(
      PrefillSm90Kernel<Tr>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  cudaLaunchAttribute cluster;
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = Tr::kCluster;
  cluster.val.clusterDim.y = 1;
  cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(device.num_sms / Tr::kCluster * Tr::kCluster);
  config.blockDim = dim3(Tr::kThreads);
  config.dynamicSmemBytes = kSharedBytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, PrefillSm90Kernel<Tr>, q_map, k_map, v_map,
                            MakeSm90Args(params));
}

// Pairs of blocks share K and V where heads come in pairs and the block has registers to spare.
template <int kHeadDim>
cudaError_t LaunchSm90(const PrefillAttentionParams& params, cudaStream_t stream) {
  if constexpr (Sm90Traits<kHeadDim, 1>::kConsumers == 2) {
    if (params.num_q_heads / params.kv.num_kv_heads % 2 == 0) {
      return LaunchSm90Traits<Sm90Traits<kHeadDim, 2>>(params, stream);
    }
  }
  return LaunchSm90Traits<Sm90Traits<kHeadDim, 1>>(params, stream);
}

}  // namespace pingti::kernels::prefill
