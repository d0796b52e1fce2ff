// First half of an adapter's product with experts: see expert_lora.h.
//
//   shrunk[row, module, i] = sum over k of x[row or its token, k] A[slot, expert, module, i, k]
//
// Grid: (row, module and 16 ranks). Each of a block's eight warps has two ranks; a lane reads eight
// inputs as one vector, and sums are added up over lanes. In a decode step nearly every row has an
// expert of its own, so that rows share nothing but the L2. Per row, module and rank: 2 in_features
// bytes of A. Sums in f32. Architectures: sm_80 and newer; on sm_90 its start overlaps the kernel
// before it (overlap.h). Tolerance: f32 sums of bf16 products.

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "kernels/common/vec8.cuh"
#include "kernels/lora/expert_rows.cuh"
#include "pingti/kernels/expert_lora.h"

namespace pingti::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kRanksPerWarp = kLoraRankStep / kWarps;
constexpr int kLaneInputs = 8;

__device__ __forceinline__ float Dot8(uint4 x, uint4 a, float sum) {
  float left[8];
  float right[8];
  Unpack8<__nv_bfloat16>(x, left);
  Unpack8<__nv_bfloat16>(a, right);
#pragma unroll
  for (int i = 0; i < 8; ++i) sum = fmaf(left[i], right[i], sum);
  return sum;
}

__global__ void __launch_bounds__(kWarps * 32) ExpertShrinkKernel(const ExpertLoraShrinkParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const int row = blockIdx.x;
  const RowKey key = KeyOf(p.rows, row);
  if (key.slot < 0) return;
  const int steps = p.max_rank / kLoraRankStep;
  const int module = blockIdx.y / steps;
  const int first_rank = blockIdx.y % steps * kLoraRankStep + threadIdx.x / 32 * kRanksPerWarp;
  const int of_expert = key.expert * p.num_modules + module;
  const int rank = p.ranks[key.slot * p.ranks_slot_stride + of_expert];
  if (blockIdx.y % steps * kLoraRankStep >= rank) return;
  const int lane = threadIdx.x % 32;
  const __nv_bfloat16* x =
      static_cast<const __nv_bfloat16*>(p.x) + (p.x_by_token ? key.token : row) * p.x_stride;
  const __nv_bfloat16* a =
      static_cast<const __nv_bfloat16*>(p.a) + key.slot * p.a_slot_stride +
      (static_cast<int64_t>(of_expert) * p.max_rank + first_rank) * p.in_features;
  float sums[kRanksPerWarp] = {};
  for (int k = lane * kLaneInputs; k < p.in_features; k += 32 * kLaneInputs) {
    const uint4 inputs = *reinterpret_cast<const uint4*>(x + k);
#pragma unroll
    for (int i = 0; i < kRanksPerWarp; ++i) {
      const auto* at = reinterpret_cast<const uint4*>(a + int64_t{i} * p.in_features + k);
      sums[i] = Dot8(inputs, *at, sums[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < kRanksPerWarp; ++i) {
#pragma unroll
    for (int delta = 16; delta > 0; delta /= 2) {
      sums[i] += __shfl_xor_sync(~0u, sums[i], delta);
    }
    if (lane != 0) continue;
    p.shrunk[(static_cast<int64_t>(row) * p.num_modules + module) * p.max_rank + first_rank + i] =
        sums[i];
  }
}

}  // namespace

cudaError_t LaunchExpertLoraShrink(const ExpertLoraShrinkParams& p, cudaStream_t stream) {
  if (p.rows.max_rows < 0 || p.in_features <= 0 || p.in_features % 8 != 0 || p.x_stride % 8 != 0 ||
      p.a_slot_stride % 8 != 0 || p.num_modules <= 0 || p.max_rank <= 0 ||
      p.max_rank % kLoraRankStep != 0 || p.max_rank > kMaxLoraRank) {
    return cudaErrorInvalidValue;
  }
  if (p.rows.max_rows == 0) return cudaSuccess;
  if (p.rows.token_of == nullptr || p.rows.span_of == nullptr || p.rows.num_rows == nullptr ||
      p.rows.slot_of == nullptr || p.ranks == nullptr || !IsPresent(p.x) || !IsPresent(p.a) ||
      !IsPresent(p.shrunk)) {
    return cudaErrorInvalidValue;
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const dim3 grid(p.rows.max_rows, p.num_modules * (p.max_rank / kLoraRankStep));
  return LaunchOverlapped(ExpertShrinkKernel, grid, dim3(kWarps * 32), 0, stream,
                          device.compute_capability, p);
}

}  // namespace pingti::kernels
