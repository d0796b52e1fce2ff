// Turns checked parameters into the arguments and launch shape of one kernel instance. Included by
// instances/*.cu only.
#pragma once

#include <algorithm>

#include "kernels/attention/decode/kernel.cuh"
#include "kernels/attention/decode/launch.h"
#include "kernels/attention/kv_map.h"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"

namespace pingti::kernels::decode {

template <class Tr>
cudaError_t EncodeKvMap(CUtensorMap* map, const void* pool, const PagedKv& kv) {
  const CUtensorMapDataType dtype =
      Tr::kInt8 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;  // any 16 bits
  return EncodeKvPool(
      map, kv, pool, dtype, Tr::kBoxBytes / Tr::kElementBytes, kTileTokens,
      Tr::kBoxBytes == 128 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B);
}

inline int Log2(int power_of_two) {
  int log = 0;
  while ((1 << log) < power_of_two) ++log;
  return log;
}

template <class Tr>
KernelArgs MakeKernelArgs(const DecodeAttentionParams& p, int num_workers) {
  KernelArgs args{};
  const DecodeShape& shape = p.shape;
  const int group = shape.num_q_heads / shape.num_kv_heads;
  auto* plan = static_cast<const int32_t*>(p.plan);
  const PlanLayout layout{shape.num_seqs, num_workers};
  args.work = {static_cast<const WorkerStart*>(p.plan),
               plan + layout.TileStart(),
               shape.kv_lens,
               shape.q_starts,
               shape.num_kv_heads,
               shape.max_q_len,
               shape.window};
  args.kv = {static_cast<const uint8_t*>(p.kv.k),
             static_cast<const uint8_t*>(p.kv.v),
             p.kv.k_scale,
             p.kv.v_scale,
             p.kv.block_table,
             p.kv.block_table_stride,
             p.kv.page_stride * Tr::kElementBytes,
             p.kv.head_stride * Tr::kElementBytes,
             p.kv.token_stride * Tr::kElementBytes,
             p.kv.scale_page_stride,
             p.kv.scale_head_stride,
             Log2(p.kv.page_tokens),
             p.kv.page_tokens == kTileTokens && HasPairedScales(p.kv)};
  args.query = {p.q,    p.q_token_stride,   p.q_head_stride,
                p.out,  p.out_token_stride, p.out_head_stride,
                group,  shape.window,       p.softmax_scale * 1.4426950408889634f,
                p.sinks};
  // The counters live at the end of the plan buffer, the one part of it that launches write.
  args.partial = {static_cast<float*>(p.workspace), const_cast<int32_t*>(plan) + layout.Counters(),
                  shape.max_q_len * group};
  return args;
}

template <class Tr>
cudaError_t LaunchInstance(const DecodeAttentionParams& params, cudaStream_t stream) {
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  int ordinal = 0;
  int max_shared = 0;
  PINGTI_CUDA_RETURN(cudaGetDevice(&ordinal));
  PINGTI_CUDA_RETURN(
      cudaDeviceGetAttribute(&max_shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, ordinal));
  KernelArgs args = MakeKernelArgs<Tr>(params, device.num_sms);
  args.num_stages =
      std::min(kMaxStages, (max_shared - SharedLayout<Tr>::kFixedBytes) / Tr::kStageBytes);
  // A multiple of the tile groups: then a group meets a stage in every round or in none, and the
  // barrier's one parity bit tells it this round from the last.
  args.num_stages -= args.num_stages % Tr::kTileGroups;
  if (args.num_stages < 2) return cudaErrorNotSupported;
  if (device.compute_capability >= 90) {
    PINGTI_CUDA_RETURN(EncodeKvMap<Tr>(&args.k_map, params.kv.k, params.kv));
    PINGTI_CUDA_RETURN(EncodeKvMap<Tr>(&args.v_map, params.kv.v, params.kv));
  }
  const int shared = SharedLayout<Tr>::Total(args.num_stages);
  PINGTI_CUDA_RETURN(
      cudaFuncSetAttribute(DecodeKernel<Tr>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
  return LaunchOverlapped(DecodeKernel<Tr>, dim3(device.num_sms), dim3(kThreads), shared, stream,
                          device.compute_capability, args);
}

}  // namespace pingti::kernels::decode
