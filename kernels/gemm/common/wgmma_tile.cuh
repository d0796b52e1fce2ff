// What the prefill tiles of dense and of grouped products share: the walk over a matrix's tiles,
// and a consumer warpgroup's products out of a ring of stages. Device code, sm_90a.
//
// A stage is kBlockM rows of one operand, then kBlockN of the other, each 128 bytes of k with the
// 128-byte swizzle. `full[stage]` completes when it has landed, `empty[stage]` when every consumer
// warp of the cluster has read it. Traits:
//   kBlockM, kBlockN, kABytes, kStageBytes, kStages, kCluster (1 or 2); kBlockK: 128, bytes;
//   kInstructionN: columns of one instruction; Element: int8_t or __nv_bfloat16; Sum: int32_t or
//   float; kThreadsCopy: whether threads write into stages beside the copy engine.
// Who fills stages: gemm/int8/tile, moe/grouped_gemm/tile.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/tma.cuh"
#include "kernels/common/wgmma_desc.cuh"
#include "kernels/common/wgmma_f16.cuh"
#include "kernels/common/wgmma_s8.cuh"

namespace pingti::kernels {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Walks output tiles: groups of `group_m` cluster rows, row fastest inside a group, so that a wave
// of blocks rereads the same few rows of both operands out of L2.
struct TileWalk {
  int m_tiles;  // in units of one cluster's rows
  int n_tiles;
  int group_m;

  __device__ __forceinline__ void At(int index, int* m_tile, int* n_tile) const {
    const int group_size = group_m * n_tiles;
    const int group = index / group_size;
    const int first = group * group_m;
    const int rows = min(group_m, m_tiles - first);
    const int within = index - group * group_size;
    *n_tile = within / rows;
    *m_tile = first + within - *n_tile * rows;
  }
};

// A place in the ring: the stage, and the parity of the phase that is waited for. Who fills begins
// at parity 1, since fresh barriers count as completed; who reads begins at 0.
template <int kStages>
struct RingPlace {
  int stage = 0;
  uint32_t parity;

  __device__ __forceinline__ void Advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// acc[64, kBlockN] (+)= 64 rows times kBlockN rows over 32 bytes of k.
template <typename Traits>
__device__ __forceinline__ void MultiplyStep(typename Traits::Sum (&acc)[Traits::kBlockN / 2],
                                             uint64_t a, uint64_t b, bool accumulate) {
  constexpr int kN = Traits::kInstructionN;
  constexpr int kParts = Traits::kBlockN / kN;
  using Parts = typename Traits::Sum[kParts][kN / 2];
  auto& parts = reinterpret_cast<Parts&>(acc);
#pragma unroll
  for (int i = 0; i < kParts; ++i) {
    const uint64_t rows = b + i * (kN * Traits::kBlockK >> 4);
    if constexpr (std::is_same_v<typename Traits::Element, int8_t>) {
      WgmmaS8<kN>::Run(parts[i], a, rows, accumulate);
    } else {
      WgmmaF16<typename Traits::Element, kN>::template Run<false>(parts[i], a, rows, accumulate);
    }
  }
}

// Called by the lanes of a warp that has read `stage`: gives it back to all loaders of the cluster.
template <typename Traits>
__device__ __forceinline__ void ReleaseStage(uint64_t* empty, int stage) {
  const int lane = threadIdx.x % 32;
  if (lane < Traits::kCluster) MbarrierArriveCluster(&empty[stage], lane);
}

// One warpgroup's products of one tile: acc[64, kBlockN] over all of k. Leaves `place` at the next
// tile's first stage.
template <typename Traits>
__device__ __forceinline__ void MultiplyTile(typename Traits::Sum (&acc)[Traits::kBlockN / 2],
                                             int k_blocks, int warpgroup, uint8_t* stages,
                                             uint64_t* full, uint64_t* empty,
                                             RingPlace<Traits::kStages>* place) {
  int previous = -1;
  for (int kb = 0; kb < k_blocks; ++kb) {
    MbarrierWait(&full[place->stage], place->parity);
    if constexpr (Traits::kThreadsCopy) FenceProxyAsync();  // what they wrote, before wgmma reads
    const uint8_t* a = stages + place->stage * Traits::kStageBytes;
    const uint64_t a_descriptor = MakeKMajorDescriptor128B(a + warpgroup * 64 * Traits::kBlockK);
    const uint64_t w_descriptor = MakeKMajorDescriptor128B(a + Traits::kABytes);
    WgmmaFence();
#pragma unroll
    for (int step = 0; step < Traits::kBlockK / 32; ++step) {
      MultiplyStep<Traits>(acc, a_descriptor + 2 * step, w_descriptor + 2 * step,
                           kb > 0 || step > 0);
    }
    WgmmaCommit();
    // The batch before this one is done: its stage goes back to the loaders.
    WgmmaWait<1>();
    if (previous >= 0) ReleaseStage<Traits>(empty, previous);
    previous = place->stage;
    place->Advance();
  }
  WgmmaWait<0>();
#pragma unroll
  for (int i = 0; i < Traits::kBlockN / 2; ++i) WgmmaFenceRegister(acc[i]);
  ReleaseStage<Traits>(empty, previous);
}

// In place of MultiplyTile, where the tile has no rows for the warpgroup.
template <typename Traits>
__device__ __forceinline__ void SkipTile(int k_blocks, uint64_t* full, uint64_t* empty,
                                         RingPlace<Traits::kStages>* place) {
  for (int kb = 0; kb < k_blocks; ++kb) {
    MbarrierWait(&full[place->stage], place->parity);
    ReleaseStage<Traits>(empty, place->stage);
    place->Advance();
  }
}

// For a loader that is done: waits until every stage has been read, so that no block leaves while
// its peer may still signal its barriers or copy into its stages.
template <typename Traits>
__device__ __forceinline__ void DrainStages(uint64_t* empty, RingPlace<Traits::kStages>* place) {
  for (int i = 0; i < Traits::kStages; ++i) {
    MbarrierWait(&empty[place->stage], place->parity);
    place->Advance();
  }
}

// Four 8 x 8 matrices of 16-bit elements; lane 8 i + r gives the address of row r of matrix i.
__device__ __forceinline__ void StoreMatrix4(void* smem, uint32_t r0, uint32_t r1, uint32_t r2,
                                             uint32_t r3) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(SmemAddress(smem)),
      "r"(r0), "r"(r1), "r"(r2), "r"(r3)
      : "memory");
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace pingti::kernels
