// The loading half of the latent attention kernel: one warp that walks the block's work, looks
// pages up and has the copy engine fetch queries and latents. Next: converter.cuh (latents in
// int8), consumer.cuh (the other half).
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/attention/latent/traits.cuh"
#include "kernels/common/tma.cuh"

namespace pingti::kernels::latent {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// All 32 lanes run it: lane b copies the b-th page of a tile. Tile t of a work lies in stage t % 2,
// whose owner is the consumer warpgroup of that number. Parts of a tile are loaded in the order in
// which the last one's are done with: the rotated part, the owner's half of the values, the other
// half. Of latents in int8 the rotated part alone, as the converter loads the values.
template <bool kInt8>
struct Producer {
  const Args& args;
  Shared& shared;
  const CUtensorMap* q_map;
  const CUtensorMap* kv_map;
  RowPacking packing;
  uint64_t kv_policy;
  int lane;
  uint32_t parities = 0;  // of the tiles in each stage so far, a bit each
  uint32_t work_count = 0;
  uint32_t q_parity = 0;

  // Page of this lane's part of the tile, if it has one.
  __device__ __forceinline__ int32_t LookUpPage(const Work& work, int tile) const {
    const int token = tile * kTileTokens + lane * args.box_tokens;
    if (!HasPage(work, tile)) return 0;
    return __ldg(args.block_table + work.seq * args.block_table_stride +
                 (token >> args.page_shift));
  }
  __device__ __forceinline__ bool HasPage(const Work& work, int tile) const {
    const int in_tile = lane * args.box_tokens;
    return in_tile < kTileTokens && tile * kTileTokens + in_tile < work.kv_end;
  }

  // Boxes [first, first + count) of a tile. `bytes` of each are copied.
  __device__ __forceinline__ void LoadBoxes(int stage, int first, int count, uint32_t bytes,
                                            bool has_page, int32_t page, int in_page) const {
    if (lane < count) MbarrierArriveExpectBytes(&shared.full[stage][first + lane], bytes);
    __syncwarp();  // announced before anything arrives
    if (!has_page) return;
    for (int box = first; box < first + count; ++box) {
      TmaLoad4d(shared.kv[stage][box][lane * args.box_tokens], kv_map, &shared.full[stage][box],
                kInt8 ? 0 : box * kBoxDims, in_page, 0, page, kv_policy);
    }
  }

  __device__ __forceinline__ void LoadTile(const Work& work, int tile, int32_t page) {
    const int stage = (tile - work.tile_begin) % kStages;
    const uint32_t free = (parities >> stage & 1) ^ 1;  // parity of the last tile's readers
    parities ^= 1u << stage;
    const int first_token = tile * kTileTokens;
    const int tokens = min(work.kv_end - first_token, kTileTokens);
    const int copies = (tokens + args.box_tokens - 1) / args.box_tokens;
    const uint32_t bytes = copies * args.box_tokens * kBoxDims * 2;
    const bool has_page = HasPage(work, tile);
    const int in_page = (first_token + lane * args.box_tokens) & ((1 << args.page_shift) - 1);
    MbarrierWait(&shared.rope_empty[stage], free);
    LoadBoxes(stage, kRopeBox, 1, bytes, has_page, page, in_page);
    if constexpr (!kInt8) {
      for (int i = 0; i < 2; ++i) {
        const int half = stage ^ i;
        MbarrierWait(&shared.half_empty[stage][half], free);
        LoadBoxes(stage, half * kHalfBoxes, kHalfBoxes, bytes, has_page, page, in_page);
      }
    }
  }

  // Has a tile's rows and scales brought to L2, from where the converter's loads come sooner.
  __device__ __forceinline__ void Prefetch(const Work& work, int tile, int32_t page) const {
    if (tile >= work.tile_end || !HasPage(work, tile)) return;
    const int page_tokens = 1 << args.page_shift;
    const int in_page = (tile * kTileTokens + lane * args.box_tokens) & (page_tokens - 1);
    const uint8_t* at =
        args.latents + static_cast<int64_t>(page << args.page_shift) * kLatentInt8Bytes;
    BulkPrefetch(at + in_page * kLatentInt8RowBytes, args.box_tokens * kLatentInt8RowBytes);
    BulkPrefetch(at + page_tokens * kLatentInt8RowBytes + in_page * kLatentScales * 2,
                 args.box_tokens * kLatentScales * 2);
  }

  // Rows past the last query token or head come as zeros, or are another sequence's; nothing of
  // them is stored.
  __device__ __forceinline__ void LoadQueries(const Work& work) {
    MbarrierWait(&shared.q_empty, q_parity ^ 1);
    q_parity ^= 1;
    if (lane != 0) return;
    MbarrierArriveExpectBytes(&shared.q_full,
                              kValueBoxes * packing.heads * packing.tokens * kBoxDims * 2);
    for (int box = 0; box < kValueBoxes; ++box) {
      TmaLoad3d(shared.q[box], q_map, &shared.q_full, box * kBoxDims, work.head, work.q_row,
                L2EvictFirst());
    }
  }

  // Hands work to the consumers.
  __device__ __forceinline__ void Publish(const Work& work) {
    const uint32_t slot = work_count % 2;
    MbarrierWait(&shared.work_empty[slot], (work_count / 2 % 2) ^ 1);
    if (lane == 0) {
      shared.work[slot] = work;
      MbarrierArrive(&shared.work_full[slot]);
    }
    __syncwarp();
    ++work_count;
  }

  template <class Source>
  __device__ __forceinline__ void Run(Source& source) {
    Work work;
    while (source.Next(&work)) {
      Publish(work);
      if (work.tile_begin >= work.tile_end) continue;
      int32_t page = LookUpPage(work, work.tile_begin);
      if constexpr (kInt8) Prefetch(work, work.tile_begin, page);
      for (int tile = work.tile_begin; tile < work.tile_end; ++tile) {
        const int32_t next_page = LookUpPage(work, tile + 1);
        if constexpr (kInt8) Prefetch(work, tile + 1, next_page);
        LoadTile(work, tile, page);
        // The first tile does not wait until the work before has scored its last one.
        if (tile == work.tile_begin) LoadQueries(work);
        page = next_page;
      }
    }
    work.seq = -1;
    Publish(work);
  }
};

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace pingti::kernels::latent
