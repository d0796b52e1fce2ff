// Host side of sm80_kernel.cuh. Included by the instantiation files only.
#pragma once

#include <bit>

#include "kernels/attention/prefill/sm80_kernel.cuh"
#include "kernels/attention/prefill/variants.h"
#include "kernels/common/status.h"

namespace pingti::kernels::prefill {

template <int kHeadDim, bool kTransform>
cudaError_t LaunchSm80(const PrefillAttentionParams& params, cudaStream_t stream) {
  using Tr = Sm80Traits<kHeadDim, kTransform>;
  Sm80Args args;
  args.header = static_cast<PlanHeader*>(params.workspace);
  args.items = Items(params.workspace);
  args.q = params.q;
  args.q_token_stride = params.q_token_stride;
  args.q_head_stride = params.q_head_stride;
  args.out = params.out;
  args.out_token_stride = params.out_token_stride;
  args.out_head_stride = params.out_head_stride;
  args.kv = params.kv;
  args.group = params.num_q_heads / params.kv.num_kv_heads;
  args.page_shift = std::countr_zero(static_cast<uint32_t>(params.kv.page_tokens));
  args.scale_log2 = (kTransform ? 1.0f : params.softmax_scale) * 1.44269504f;
  args.causal = params.causal;
  args.window = params.window;
  args.sinks = params.sinks;
  args.scale = params.softmax_scale;
  args.logit_softcap = params.logit_softcap;
  args.alibi_slopes = params.alibi_slopes;

  constexpr int kSharedBytes = sizeof(Sm80Shared<Tr>);
  PINGTI_CUDA_RETURN(cudaFuncSetAttribute(
      PrefillSm80Kernel<Tr>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  int blocks_per_sm = 0;
  PINGTI_CUDA_RETURN(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      &blocks_per_sm, PrefillSm80Kernel<Tr>, Tr::kThreads, kSharedBytes));
  PrefillSm80Kernel<Tr>
      <<<device.num_sms * blocks_per_sm, Tr::kThreads, kSharedBytes, stream>>>(args);
  return cudaGetLastError();
}

}  // namespace pingti::kernels::prefill
