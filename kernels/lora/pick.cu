// First half of what adapters add to an embedding: see lora.h.
//
//   shrunk[tile row, r] = A[slot, r, id of the row's token - first_id], 0 where A lacks that column
//
// Grid: (tile, 16 ranks), a thread for each row and rank. A's rows lie along tokens, as files have
// them, so that a value is a sector of its own: 32 bytes read per row and rank. Shared memory:
// none. Architectures: sm_80 and newer; on sm_90 its start overlaps the kernel before it
// (overlap.h). Exact.

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "kernels/common/vec8.cuh"
#include "pingti/kernels/lora.h"

namespace pingti::kernels {
namespace {

__global__ void __launch_bounds__(kLoraTileRows* kLoraRankStep) PickKernel(const LoraPickParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
#endif
  const int tile_row = blockIdx.x * kLoraTileRows + threadIdx.x / kLoraRankStep;
  const int row = p.tiles.rows[tile_row];
  const int slot = p.tiles.slots[blockIdx.x];
  const int rank = blockIdx.y * kLoraRankStep + threadIdx.x % kLoraRankStep;
  const int most = slot < 0 ? 0 : p.ranks[slot * p.ranks_slot_stride];
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  WaitForPriorKernels();
#endif
  if (blockIdx.y * kLoraRankStep >= most) return;
  float value = 0;
  if (row >= 0 && rank < most) {
    const int token = p.token_ids[row] - p.first_id;
    if (token >= 0 && token < p.in_features) {
      const auto* a = static_cast<const __nv_bfloat16*>(p.a) + slot * p.a_slot_stride;
      value = __bfloat162float(a[static_cast<int64_t>(rank) * p.in_features + token]);
    }
  }
  p.shrunk[static_cast<int64_t>(tile_row) * p.max_rank + rank] = value;
}

}  // namespace

cudaError_t LaunchLoraPick(const LoraPickParams& p, cudaStream_t stream) {
  if (p.dtype != DType::kBf16) return cudaErrorNotSupported;
  if (p.tiles.num_tiles < 0 || p.in_features <= 0 || p.max_rank <= 0 ||
      p.max_rank % kLoraRankStep != 0 || p.max_rank > kMaxLoraRank) {
    return cudaErrorInvalidValue;
  }
  if (p.tiles.num_tiles == 0) return cudaSuccess;
  if (p.tiles.rows == nullptr || p.tiles.slots == nullptr || p.ranks == nullptr ||
      p.token_ids == nullptr || !IsPresent(p.a) || !IsPresent(p.shrunk)) {
    return cudaErrorInvalidValue;
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const dim3 grid(p.tiles.num_tiles, p.max_rank / kLoraRankStep);
  return LaunchOverlapped(PickKernel, grid, dim3(kLoraTileRows * kLoraRankStep), 0, stream,
                          device.compute_capability, p);
}

}  // namespace pingti::kernels
