// Prefill attention over paged KV for sm_90a: TMA + wgmma, warp-specialised, after
// FlashAttention-3.
//
// Formula, inputs, outputs: pingti/kernels/prefill_attention.h. One tile is kRows query rows of one
// head against KV tiles of kTileKv tokens, walked from the right:
//   S = q K^T (f32); m' = max(m, rowmax S); P = 2^(c S - c m'), c = softmax_scale log2 e, in T;
//   l = l 2^(c m - c m') + rowsum P (f32); O = O 2^(c m - c m') + P V (f32); out = O / l in T.
// Accuracy: P and out are rounded to T once each, all sums are f32: error at most twice that of the
// same formula with those two roundings only (tests/kernels/attention/prefill_test.cu).
//
// Grid: one block a multiprocessor, persistent; tiles are drawn from PlanHeader::next_tile, longest
// first, a section of KV heads at a time so that its K and V stay in L2. Where the group is even,
// two blocks form a cluster: same work item, adjacent query heads, each block loads half of every K
// and V tile into both (multicast). Block: one producer warp (of a warpgroup that gives its
// registers away) and kConsumers warpgroups of 64 query rows each.
//
// Overlap: within a warpgroup the softmax of tile n runs under the product P V of tile n + 1;
// between warpgroups, turns (named barriers) keep one in its softmax while another has the tensor
// cores. Shared memory at head_dim 128: q 32 KB, out 32 KB, two stages of K and V 128 KB.
//
// Work: 4 head_dim FLOP a visible (query, key) pair and head, against 16-bit K and V read from L2
// once for every tile row: bound by the tensor cores above a few hundred tokens. Measured on an
// H100 (bench/kernels/attention/prefill_bench.cu, ncu): tensor cores busy 70 % of the cycles, 94 %
// with the softmax left out; the power limit then lowers the clock.
//
// A partly filled last page: tokens at or past kv_len are masked in S and zeroed in V, so that
// whatever the page holds there (NaN too) is harmless. Pages past the end are never looked up:
// their coordinate is one past the pool, which the copy engine fills with zeros.
//
// Sources: Shah et al., FlashAttention-3 (arXiv:2407.08608); PTX ISA 8.x for wgmma and TMA.
//
// Next: sm90_traits.cuh, sm90_producer.cuh, sm90_consumer.cuh; plan.h (work items), launch.cu.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/attention/prefill/sm90_consumer.cuh"
#include "kernels/attention/prefill/sm90_producer.cuh"

namespace pingti::kernels::prefill {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

template <class Tr>
__device__ __forceinline__ void InitBarriers(Sm90Shared<Tr>& shared) {
  constexpr uint32_t kConsumerWarps = 4 * Tr::kConsumers;
  MbarrierInit(&shared.q_full, 1);
  MbarrierInit(&shared.q_empty, kConsumerWarps);
  for (int i = 0; i < Tr::kStages; ++i) {
    MbarrierInit(&shared.k_full[i], 1);
    MbarrierInit(&shared.k_empty[i], kConsumerWarps * Tr::kCluster);
    MbarrierInit(&shared.v_full[i], 1);
    MbarrierInit(&shared.v_empty[i], kConsumerWarps * Tr::kCluster);
  }
  for (int i = 0; i < 2; ++i) {
    MbarrierInit(&shared.work_full[i], 1);
    MbarrierInit(&shared.work_empty[i], kConsumerWarps);
    MbarrierInit(&shared.draw_full[i], 1);
    MbarrierInit(&shared.draw_empty[i], Tr::kCluster);
  }
  MbarrierInitFence();
}

template <class Tr>
__device__ __forceinline__ void SyncCluster() {
  if constexpr (Tr::kCluster > 1) {
    ClusterSync();
  } else {
    __syncthreads();
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <class Tr>
__global__ void __launch_bounds__(Tr::kThreads, 1)
    PrefillSm90Kernel(const __grid_constant__ CUtensorMap q_map,
                      const __grid_constant__ CUtensorMap k_map,
                      const __grid_constant__ CUtensorMap v_map,
                      const __grid_constant__ Sm90Args args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ uint8_t raw_shared[];
  auto& shared = *reinterpret_cast<Sm90Shared<Tr>*>(
      (reinterpret_cast<uintptr_t>(raw_shared) + 1023) & ~uintptr_t{1023});
  if (threadIdx.x == 0) {
    InitBarriers(shared);
    TmaPrefetchDescriptor(&q_map);
    TmaPrefetchDescriptor(&k_map);
    TmaPrefetchDescriptor(&v_map);
  }
  SyncCluster<Tr>();  // barriers are ready
  const int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0);
  if (warpgroup == 0) {
    DecreaseRegisters<Tr::kProducerRegisters>();
    if (threadIdx.x < 32) {
      Sm90Producer<Tr>{
          args, shared, &q_map, &k_map, &v_map, threadIdx.x, Tr::kCluster > 1 ? ClusterRank() : 0}
          .Run();
    }
  } else {
    IncreaseRegisters<Tr::kConsumerRegisters>();
    const int lane = threadIdx.x % 32;
    const int warp = (threadIdx.x / 32) % 4;
    Sm90Consumer<Tr>{args, shared, warpgroup - 1, lane, warp}.Run();
  }
  // No block may leave while another still copies into it or arrives at its barriers.
  if constexpr (Tr::kCluster > 1) ClusterSync();
#endif
}

}  // namespace pingti::kernels::prefill
