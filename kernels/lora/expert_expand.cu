// Second half of an adapter's product with experts: see expert_lora.h.
//
//   y[row, n] += sum over i of shrunk[row, module of n, i] B[slot, expert, n, i]
//
// Grid: (row, 256 columns); a thread has one column and reads its ranks, which lie together, eight
// at a time. Per row 2 * filled rank * out_features bytes of B. Sums in f32, rounded once with what
// is in y. Architectures: sm_80 and newer; on sm_90 its start overlaps the kernel before it
// (overlap.h). Tolerance: f32 sums of f32 by bf16 products, and one rounding.

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "kernels/common/vec8.cuh"
#include "kernels/lora/expert_rows.cuh"
#include "pingti/kernels/expert_lora.h"

namespace pingti::kernels {
namespace {

constexpr int kColumns = 256;  // of a block

__global__ void __launch_bounds__(kColumns) ExpertExpandKernel(const ExpertLoraExpandParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const int row = blockIdx.x;
  const RowKey key = KeyOf(p.rows, row);
  const int column = blockIdx.y * kColumns + threadIdx.x;
  if (key.slot < 0 || column >= p.out_features) return;
  int part = 0;
  while (p.part_end[part] <= column) ++part;
  const int module = p.part_module[part];
  const int rank = p.ranks[key.slot * p.ranks_slot_stride + key.expert * p.num_modules + module];
  if (rank == 0) return;
  const float* shrunk =
      p.shrunk + (static_cast<int64_t>(row) * p.num_modules + module) * p.max_rank;
  const __nv_bfloat16* b =
      static_cast<const __nv_bfloat16*>(p.b) + key.slot * p.b_slot_stride +
      (static_cast<int64_t>(key.expert) * p.out_features + column) * p.max_rank;
  float sum = 0;
  // Both are zeros from the rank up to a multiple of kLoraRankStep.
  for (int i = 0; i < rank; i += 8) {
    float factors[8];
    Unpack8<__nv_bfloat16>(*reinterpret_cast<const uint4*>(b + i), factors);
    // Plain loads: another kernel of this stream wrote them.
    const float4 low = *reinterpret_cast<const float4*>(shrunk + i);
    const float4 high = *reinterpret_cast<const float4*>(shrunk + i + 4);
    const float values[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int j = 0; j < 8; ++j) sum = fmaf(values[j], factors[j], sum);
  }
  __nv_bfloat16* y = static_cast<__nv_bfloat16*>(p.y) + row * p.y_stride + column;
  *y = __float2bfloat16(__bfloat162float(*y) + sum);
}

bool ExpertPartsFit(const ExpertLoraExpandParams& p) {
  int32_t begin = 0;
  for (int part = 0; part < p.num_parts; ++part) {
    if (p.part_end[part] <= begin || p.part_module[part] < 0 ||
        p.part_module[part] >= p.num_modules) {
      return false;
    }
    begin = p.part_end[part];
  }
  return begin == p.out_features;
}

}  // namespace

cudaError_t LaunchExpertLoraExpand(const ExpertLoraExpandParams& p, cudaStream_t stream) {
  if (p.rows.max_rows < 0 || p.out_features <= 0 || p.b_slot_stride % 8 != 0 ||
      p.num_modules <= 0 || p.max_rank <= 0 || p.max_rank % kLoraRankStep != 0 ||
      p.max_rank > kMaxLoraRank || p.num_parts <= 0 || p.num_parts > kMaxLoraParts ||
      !ExpertPartsFit(p)) {
    return cudaErrorInvalidValue;
  }
  if (p.rows.max_rows == 0) return cudaSuccess;
  if (p.rows.token_of == nullptr || p.rows.span_of == nullptr || p.rows.num_rows == nullptr ||
      p.rows.slot_of == nullptr || p.ranks == nullptr || !IsPresent(p.b) || !IsPresent(p.shrunk) ||
      p.y == nullptr) {
    return cudaErrorInvalidValue;
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const dim3 grid(p.rows.max_rows, CeilDiv(p.out_features, kColumns));
  return LaunchOverlapped(ExpertExpandKernel, grid, dim3(kColumns), 0, stream,
                          device.compute_capability, p);
}

}  // namespace pingti::kernels
