// The loading half of the sm_90a prefill kernel: one warp that draws tiles, looks pages up and has
// the copy engine fetch q, K and V. Next: sm90_consumer.cuh (the other half), sm90_kernel.cuh (the
// whole).
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/attention/prefill/sm90_traits.cuh"
#include "kernels/common/cluster.cuh"
#include "kernels/common/tma.cuh"

namespace pingti::kernels::prefill {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// The producer warp. All 32 lanes run it: lane b copies the b-th box of this block's share of a KV
// tile, into every block of the cluster.
template <class Tr>
struct Sm90Producer {
  const Sm90Args& args;
  Sm90Shared<Tr>& shared;
  const CUtensorMap* q_map;
  const CUtensorMap* k_map;
  const CUtensorMap* v_map;
  uint32_t lane;
  uint32_t rank;  // of the block in its cluster
  RingPosition k_position, v_position, work_position, draw_position;
  uint32_t q_parity = 0;

  // First token of this lane's box within a KV tile.
  __device__ __forceinline__ int BoxToken() const {
    return rank * Tr::kLoadTokens + lane * args.box_tokens;
  }
  __device__ __forceinline__ bool HasBox() const {
    return lane * args.box_tokens < Tr::kLoadTokens;
  }

  // Page of this lane's part of KV tile `tile`; num_pages (all zeros) past the end.
  __device__ __forceinline__ int32_t LookUpPage(const WorkItem& item, int tile) const {
    const int token = tile * kTileKv + BoxToken();
    if (!HasBox() || token >= item.kv_len) return args.num_pages;
    return __ldg(args.block_table + item.seq * args.block_table_stride +
                 (token >> args.page_shift));
  }

  __device__ __forceinline__ void LoadKv(const CUtensorMap* map, typename Tr::T* smem,
                                         uint64_t* full, int tile, int32_t page, int kv_head,
                                         uint64_t policy) const {
    // The whole tile's bytes, whichever block has them copied; they may arrive before this.
    if (lane == 0) MbarrierArriveExpectBytes(full, kTileKv * Tr::kHeadDim * 2);
    __syncwarp();
    if (!HasBox()) return;
    const int in_page = (tile * kTileKv + BoxToken()) & ((1 << args.page_shift) - 1);
#pragma unroll
    for (int box = 0; box < Tr::kBoxes; ++box) {
      auto* to = smem + (box * kTileKv + BoxToken()) * Tr::kBoxDims;
      if constexpr (Tr::kCluster > 1) {
        TmaLoad4dMulticast(to, map, full, box * Tr::kBoxDims, in_page, kv_head, page,
                           (1 << Tr::kCluster) - 1, policy);
      } else {
        TmaLoad4d(to, map, full, box * Tr::kBoxDims, in_page, kv_head, page, policy);
      }
    }
  }

  __device__ __forceinline__ void LoadK(int tile, int32_t page, int kv_head, uint64_t policy) {
    const uint32_t stage = k_position.index;
    MbarrierWait(&shared.k_empty[stage], k_position.parity ^ 1);
    LoadKv(k_map, shared.k[stage][0][0], &shared.k_full[stage], tile, page, kv_head, policy);
    k_position.Advance(Tr::kStages);
  }

  __device__ __forceinline__ void LoadV(int tile, int32_t page, int kv_head, uint64_t policy) {
    const uint32_t stage = v_position.index;
    MbarrierWait(&shared.v_empty[stage], v_position.parity ^ 1);
    LoadKv(v_map, shared.v[stage][0][0], &shared.v_full[stage], tile, page, kv_head, policy);
    v_position.Advance(Tr::kStages);
  }

  __device__ __forceinline__ void LoadQ(const Tile& work, uint64_t policy) {
    MbarrierWait(&shared.q_empty, q_parity ^ 1);
    q_parity ^= 1;
    if (lane != 0) return;
    MbarrierArriveExpectBytes(&shared.q_full, sizeof(shared.q));
#pragma unroll
    for (int box = 0; box < Tr::kBoxes; ++box) {
      TmaLoad3d(shared.q[box], q_map, &shared.q_full, box * Tr::kBoxDims, work.head,
                work.item.row_begin, policy);
    }
  }

  // Hands a tile to the consumers.
  __device__ __forceinline__ void Publish(const Tile& work) {
    MbarrierWait(&shared.work_empty[work_position.index], work_position.parity ^ 1);
    if (lane == 0) {
      shared.work[work_position.index] = work;
      MbarrierArrive(&shared.work_full[work_position.index]);
    }
    work_position.Advance(2);
  }

  // K runs one tile ahead of V, as the consumers do.
  __device__ __forceinline__ void LoadTile(const Tile& work, uint64_t q_policy,
                                           uint64_t kv_policy) {
    const WorkItem& item = work.item;
    const int kv_head = work.head / args.group;
    int tile = item.tile_end - 1;
    int32_t page = LookUpPage(item, tile);
    LoadQ(work, q_policy);
    LoadK(tile, page, kv_head, kv_policy);
    for (; tile > item.tile_begin; --tile) {
      const int32_t next_page = LookUpPage(item, tile - 1);
      LoadK(tile - 1, next_page, kv_head, kv_policy);
      LoadV(tile, page, kv_head, kv_policy);
      page = next_page;
    }
    LoadV(tile, page, kv_head, kv_policy);
  }

  // The first block of a cluster draws (`drawn`, in lane 0) and tells the others. Both slots of the
  // ring may be full only if a block is a whole tile behind, so this hardly ever waits.
  __device__ __forceinline__ uint32_t ShareDraw(uint32_t drawn) {
    drawn = __shfl_sync(~0u, drawn, 0);
    if constexpr (Tr::kCluster > 1) {
      const uint32_t slot = draw_position.index;
      if (rank == 0) {
        MbarrierWait(&shared.draw_empty[slot], draw_position.parity ^ 1);
        if (lane < Tr::kCluster) {
          StoreAsyncCluster(&shared.draw[slot], drawn, &shared.draw_full[slot], lane);
        }
      }
      if (lane == 0) MbarrierArriveExpectBytes(&shared.draw_full[slot], sizeof(shared.draw[slot]));
      MbarrierWaitAcquireCluster(&shared.draw_full[slot], draw_position.parity);
      drawn = *static_cast<volatile uint32_t*>(&shared.draw[slot]);
      __syncwarp();  // all lanes have read the slot
      if (lane == 0) MbarrierArriveCluster(&shared.draw_empty[slot], 0);
      draw_position.Advance(2);
    }
    return drawn;
  }

  __device__ __forceinline__ void Run() {
    const TileSource<Tr::kCluster> source(args.header, args.items, args.num_kv_heads, args.group);
    const uint64_t q_policy = L2EvictFirst();
    const uint64_t kv_policy = L2EvictNormal();
    const bool draws = rank == 0 && lane == 0;
    for (uint32_t index = source.DrawFirst(); index < source.num_tiles();) {
      uint32_t next = 0;
      if (draws) next = source.DrawNext();
      const Tile work = source.Find(index, rank);
      Publish(work);
      if (work.item.tile_begin < work.item.tile_end) LoadTile(work, q_policy, kv_policy);
      index = ShareDraw(next);
    }
    Publish(Tile{{}, -1});
    if (draws) source.Finish();
  }
};

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace pingti::kernels::prefill
