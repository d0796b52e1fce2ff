// Sizes, shared memory and arguments of the latent attention kernel. Next: work.cuh (what a block
// does), producer.cuh, converter.cuh, consumer.cuh.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include <cstdint>

#include "pingti/kernels/latent_attention.h"

namespace pingti::kernels::latent {

using T = __nv_bfloat16;

inline constexpr int kTileRows = 64;    // query rows of a block: wgmma's M
inline constexpr int kTileTokens = 64;  // latents of a tile
inline constexpr int kTileShift = 6;
inline constexpr int kStages = 2;    // tiles in shared memory: one per consumer warpgroup
inline constexpr int kBoxDims = 64;  // 128 bytes, the widest swizzle
inline constexpr int kValueBoxes = kLatentValueDim / kBoxDims;
inline constexpr int kRopeBox = kValueBoxes;  // the box of the rotated part
inline constexpr int kBoxes = kLatentKeyDim / kBoxDims;
inline constexpr int kHalfBoxes = kValueBoxes / 2;  // of the values that a warpgroup sums
inline constexpr int kHalfDims = kHalfBoxes * kBoxDims;
inline constexpr int kBoxBytes = kTileTokens * kBoxDims * 2;

inline constexpr int kThreads = 3 * 128;   // a warpgroup that loads and two that multiply
inline constexpr int kConverterWarps = 3;  // of the warpgroup that loads, where latents are int8
// Registers per thread; they sum to at most 64 K over the block.
inline constexpr int kProducerRegisters = 56;
inline constexpr int kConsumerRegisters = 224;

// Query rows are packed: a tile has `heads` heads of each of `tokens` query tokens. A token of more
// heads than a tile has rows takes several tiles, one token's next to each other.
struct RowPacking {
  int heads;       // per tile, at most kTileRows
  int tokens;      // per tile
  int head_tiles;  // per token
};
__host__ __device__ constexpr RowPacking PackRows(int num_heads) {
  const int heads = num_heads < kTileRows ? num_heads : kTileRows;
  return {heads, kTileRows / heads, (num_heads + kTileRows - 1) / kTileRows};
}

// One tile of query rows against a range of latents.
struct Work {
  int32_t seq;         // of the block table; -1: no more work
  int32_t q_row;       // the tile's first query token, a row of q and out
  int32_t num_tokens;  // query tokens of the tile that exist
  int32_t head;        // the tile's first head
  int32_t position;    // of the first query token
  int32_t kv_end;      // tokens of the sequence that there are to see
  int32_t tile_begin;  // of latents; none: the result is zero
  int32_t tile_end;
  int32_t slot;  // of the workspace, for a part of the result; -1: it is whole
};

struct Args {
  const T* q;
  int64_t q_token_stride;
  int64_t q_head_stride;
  T* out;
  int64_t out_token_stride;
  int64_t out_head_stride;
  float* partials;  // [slots][PartialFloats(partial_rows, kLatentValueDim)]
  int partial_rows;
  int num_heads;
  const int32_t* block_table;
  int64_t block_table_stride;
  int page_shift;          // log2 of page_tokens
  int box_tokens;          // tokens of one copy: a page, or a tile where pages are larger
  float scale_log2;        // softmax_scale * log2 e
  const uint8_t* latents;  // the pool, where latents are int8
};

struct alignas(1024) Shared {
  // Each box is rows of 128 swizzled bytes. The queries' rotated part is in registers.
  T q[kValueBoxes][kTileRows][kBoxDims];
  T kv[kStages][kBoxes][kTileTokens][kBoxDims];
  T p[2][kTileRows][kTileTokens];  // of either warpgroup's own tile, for the other one
  float row_max[2][kTileRows];     // after that tile
  float row_sum[2][2][kTileRows];  // [parity of the work][warpgroup]
  uint64_t full[kStages][kBoxes];  // int8: of the values, each half's first one
  uint64_t rope_empty[kStages];
  uint64_t half_empty[kStages][2];  // [stage][half of the values]
  uint64_t q_full, q_empty;
  uint64_t work_full[2], work_empty[2];
  Work work[2];
};
static_assert(sizeof(Shared) <= 227 * 1024, "more than a block can have");

}  // namespace pingti::kernels::latent
