// The decode kernel's ring of KV tiles: barriers, and the producer warp that fills it. On sm_90a
// the tensor copy engine moves swizzled boxes; before it, the producer's lanes copy 16 bytes each
// with cp.async and apply the same swizzle, so that consumers cannot tell the two apart.
//
// Two barriers a stage: `full` (the tile has landed) and `empty` (its readers are done).
// Read next: kernel.cuh.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/attention/decode/traits.cuh"
#include "kernels/attention/decode/work.cuh"
#include "kernels/common/cp_async.cuh"
#include "kernels/common/mbarrier.cuh"
#include "kernels/common/tma.cuh"

namespace pingti::kernels::decode {

// Where a tile's bytes are, for both loaders.
struct KvArgs {
  const uint8_t* k;
  const uint8_t* v;
  const float* k_scale;
  const float* v_scale;
  const int32_t* block_table;
  int64_t block_table_stride;
  int64_t page_bytes;  // strides of k and v in bytes
  int64_t head_bytes;
  int64_t token_bytes;
  int64_t scale_page_stride;  // elements
  int64_t scale_head_stride;
  int page_shift;      // log2(page_tokens)
  bool paired_scales;  // a tile's are one piece of memory: keys', then values'
};

// Arrivals that complete a `full` barrier: the copy engine's announcement, or every lane's copies.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
inline constexpr int kFullArrivals = 1;
#else
inline constexpr int kFullArrivals = 32;
#endif

// Position in the ring; the phase flips each time it wraps.
struct RingPosition {
  int stage = 0;
  uint32_t phase = 0;
  __device__ void Advance(int num_stages) {
    if (++stage == num_stages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

struct Ring {
  uint8_t* smem;  // this block's dynamic shared memory
  int num_stages;
  uint64_t* full;   // [num_stages]
  uint64_t* empty;  // [num_stages]

  template <class Tr>
  __device__ uint8_t* KTile(int stage) const {
    return smem + stage * 2 * Tr::kTileBytes;
  }
  template <class Tr>
  __device__ uint8_t* VTile(int stage) const {
    return KTile<Tr>(stage) + Tr::kTileBytes;
  }
  template <class Tr>
  __device__ float* KScale(int stage) const {
    return reinterpret_cast<float*>(smem + SharedLayout<Tr>::Scales(num_stages)) +
           stage * 2 * kTileTokens;
  }
  template <class Tr>
  __device__ float* VScale(int stage) const {
    return KScale<Tr>(stage) + kTileTokens;
  }
};

// Offset of 16-byte chunk `chunk` of token `token` in a tile: boxes of kBoxBytes columns side by
// side, each row-major, chunks swizzled as the copy engine does (128- or 64-byte pattern).
template <class Tr>
__device__ __forceinline__ int ChunkOffset(int token, int chunk) {
  constexpr int kChunks = Tr::kBoxBytes / 16;
  const int box = chunk / kChunks;
  const int column = chunk % kChunks;
  const int swizzle = kChunks == 8 ? token % 8 : (token / 2) % 4;
  return box * (kTileTokens * Tr::kBoxBytes) + token * Tr::kBoxBytes + (column ^ swizzle) * 16;
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Tokens of one copy: a page, or a tile if pages are larger.
__device__ __forceinline__ int BoxTokens(const KvArgs& kv) {
  return kv.page_shift < 6 ? 1 << kv.page_shift : kTileTokens;
}

// Issues the copies of one tile: lane 0 of the producer warp. `pages(i)` is the page of box i.
template <class Tr, class PageOf>
__device__ void LoadTile(const Ring& ring, int stage, const KvArgs& kv, const CUtensorMap* k_map,
                         const CUtensorMap* v_map, const Segment& segment, int tile,
                         const PageOf& page_of, uint64_t policy) {
  const int box_tokens = BoxTokens(kv);
  const int first_token = tile * kTileTokens;
  const int left = segment.kv_len - first_token;
  const int tokens = left < kTileTokens ? left : kTileTokens;
  const int boxes = (tokens + box_tokens - 1) / box_tokens;
  MbarrierArriveExpectBytes(&ring.full[stage],
                            boxes * box_tokens * 2 * (Tr::kRowBytes + (Tr::kInt8 ? 4 : 0)));
  for (int i = 0; i < boxes; ++i) {
    const int page = page_of(i);
    const int in_page = (first_token + i * box_tokens) & ((1 << kv.page_shift) - 1);
    const int row = i * box_tokens * Tr::kBoxBytes;
#pragma unroll
    for (int box = 0; box < Tr::kBoxes; ++box) {
      const int column = box * (Tr::kBoxBytes / Tr::kElementBytes);
      const int offset = box * (kTileTokens * Tr::kBoxBytes) + row;
      TmaLoad4d(ring.KTile<Tr>(stage) + offset, k_map, &ring.full[stage], column, in_page,
                segment.kv_head, page, policy);
      TmaLoad4d(ring.VTile<Tr>(stage) + offset, v_map, &ring.full[stage], column, in_page,
                segment.kv_head, page, policy);
    }
    if constexpr (Tr::kInt8) {
      const int64_t scale =
          page * kv.scale_page_stride + segment.kv_head * kv.scale_head_stride + in_page;
      if (kv.paired_scales) {
        BulkLoad(ring.KScale<Tr>(stage), kv.k_scale + scale, 2 * kTileTokens * 4, &ring.full[stage],
                 policy);
        continue;
      }
      BulkLoad(ring.KScale<Tr>(stage) + i * box_tokens, kv.k_scale + scale, box_tokens * 4,
               &ring.full[stage], policy);
      BulkLoad(ring.VScale<Tr>(stage) + i * box_tokens, kv.v_scale + scale, box_tokens * 4,
               &ring.full[stage], policy);
    }
  }
}

#else

// Copies one tile with all lanes of the producer warp; tokens past the sequence are not touched.
template <class Tr>
__device__ void LoadTile(const Ring& ring, int stage, const KvArgs& kv, const Segment& segment,
                         int tile) {
  constexpr int kChunks = Tr::kRowBytes / 16;
  const int lane = threadIdx.x % 32;
  const int first_token = tile * kTileTokens;
  const int left = segment.kv_len - first_token;
  const int tokens = left < kTileTokens ? left : kTileTokens;
  const int32_t* table = kv.block_table + segment.seq * kv.block_table_stride;
  for (int i = lane; i < tokens * kChunks; i += 32) {
    const int token = i / kChunks;
    const int chunk = i % kChunks;
    const int position = first_token + token;
    const int in_page = position & ((1 << kv.page_shift) - 1);
    const int64_t from = table[position >> kv.page_shift] * kv.page_bytes +
                         segment.kv_head * kv.head_bytes + in_page * kv.token_bytes + chunk * 16;
    const int to = ChunkOffset<Tr>(token, chunk);
    CpAsync16(ring.KTile<Tr>(stage) + to, kv.k + from, true);
    CpAsync16(ring.VTile<Tr>(stage) + to, kv.v + from, true);
  }
  if constexpr (Tr::kInt8) {
    for (int token = lane; token < tokens; token += 32) {
      const int position = first_token + token;
      const int in_page = position & ((1 << kv.page_shift) - 1);
      const int64_t from = table[position >> kv.page_shift] * kv.scale_page_stride +
                           segment.kv_head * kv.scale_head_stride + in_page;
      CpAsyncSmall<4>(ring.KScale<Tr>(stage) + token, kv.k_scale + from, true);
      CpAsyncSmall<4>(ring.VScale<Tr>(stage) + token, kv.v_scale + from, true);
    }
  }
  CpAsyncArrive(&ring.full[stage]);
}

#endif

// The producer warp's whole life: every tile of every segment of this worker, in order.
template <class Tr>
__device__ void Produce(const Ring& ring, const KvArgs& kv, const CUtensorMap* k_map,
                        const CUtensorMap* v_map, const WorkArgs& work) {
  SegmentWalk walk(work, blockIdx.x);
  Segment segment;
  RingPosition at;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  const uint64_t policy = L2EvictFirst();
  const int lane = threadIdx.x % 32;
  const int boxes_per_tile = kTileTokens / BoxTokens(kv);
  while (walk.Next(&segment)) {
    const int32_t* table = kv.block_table + segment.seq * kv.block_table_stride;
    const int num_pages = (segment.kv_len + (1 << kv.page_shift) - 1) >> kv.page_shift;
    // The lanes fetch the page ids of the next 32 boxes together: one latency for all of them.
    for (int tile = segment.tile_begin; tile < segment.tile_end; tile += 32 / boxes_per_tile) {
      const int token = tile * kTileTokens + lane * BoxTokens(kv);
      const int index = token >> kv.page_shift;
      const int my_page = index < num_pages ? table[index] : 0;
      const int stop = min(segment.tile_end, tile + 32 / boxes_per_tile);
      for (int t = tile; t < stop; ++t) {
        MbarrierWait(&ring.empty[at.stage], at.phase ^ 1);  // readers of the last round are done
        int pages[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          pages[i] = __shfl_sync(~0u, my_page, ((t - tile) * boxes_per_tile + i) & 31);
        }
        if (lane == 0) {
          const auto page_of = [&pages](int i) {
            return i == 0 ? pages[0] : i == 1 ? pages[1] : i == 2 ? pages[2] : pages[3];
          };
          LoadTile<Tr>(ring, at.stage, kv, k_map, v_map, segment, t, page_of, policy);
        }
        __syncwarp();
        at.Advance(ring.num_stages);
      }
    }
  }
#else
  while (walk.Next(&segment)) {
    for (int t = segment.tile_begin; t < segment.tile_end; ++t) {
      MbarrierWait(&ring.empty[at.stage], at.phase ^ 1);
      LoadTile<Tr>(ring, at.stage, kv, segment, t);
      at.Advance(ring.num_stages);
    }
  }
#endif
}

}  // namespace pingti::kernels::decode
