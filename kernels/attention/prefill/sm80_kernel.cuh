// Prefill attention over paged KV with mma.sync and cp.async, for every card from sm_80 on that has
// no kernel of its own.
//
// Formula, inputs, outputs: pingti/kernels/prefill_attention.h. One tile is 64 query rows of one
// head against KV tiles of 64 tokens, walked from the right, after FlashAttention-2
// (arXiv:2307.08691, alg. 1):
//   S = q K^T (f32); m' = max(m, rowmax S); P = 2^(c S - c m'), c = softmax_scale log2 e, in T;
//   l = l 2^(c m - c m') + rowsum P (f32); O = O 2^(c m - c m') + P V (f32); out = O / l in T.
// Accuracy: as sm90_kernel.cuh.
//
// Grid: as many blocks as fit, persistent, tiles drawn as in work.cuh. Block: four warps of 16
// rows. V of a tile is on its way while S is computed, and the next K while P V is.
//
// Shared memory:
// q, K, V 16 KB each at head_dim 128; 16-byte chunk c of row r lies at c xor (r mod 8), so that
// ldmatrix reads eight rows without bank conflicts. Tokens at or past kv_len load as zeros, so a
// page's unused end is harmless. Work: bound by the tensor cores; exp2 and the copies' waits are
// exposed in part.
//
// Next: work.cuh, plan.h.
#pragma once

#include <cstdint>

#include "kernels/attention/prefill/work.cuh"
#include "kernels/common/cp_async.cuh"
#include "kernels/common/mma_sm80.cuh"

namespace pingti::kernels::prefill {

struct Sm80Args {
  PlanHeader* header;
  const WorkItem* items;
  const void* q;
  int64_t q_token_stride;
  int64_t q_head_stride;
  void* out;
  int64_t out_token_stride;
  int64_t out_head_stride;
  PagedKv kv;
  int32_t group;       // query heads per KV head
  int32_t page_shift;  // log2 of page_tokens
  float scale_log2;    // of scores, times log2 e
  bool causal;
  int32_t window;
  const float* sinks;  // of query heads, or null
  // Of scores that are transformed; they are scaled there, and scale_log2 is log2 e alone.
  float scale;
  float logit_softcap;
  const float* alibi_slopes;
};

template <int kHeadDim_, bool kTransform_>
struct Sm80Traits {
  using T = __nv_bfloat16;  // of q, K, V, P and the output
  static constexpr bool kTransform = kTransform_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kRows = TileRows(80, kHeadDim);
  static constexpr int kTokens = 64;
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kChunks = kHeadDim / 8;  // of 16 bytes, a row
  static_assert(kRows == 16 * kWarps, "a warp multiplies 16 rows");
  static_assert(kTileKv % kTokens == 0, "the plan counts whole tiles of this kernel");
};

template <class Tr>
struct Sm80Shared {
  alignas(128) uint4 q[Tr::kRows * Tr::kChunks];  // then out
  uint4 k[Tr::kTokens * Tr::kChunks];
  uint4 v[Tr::kTokens * Tr::kChunks];
  uint32_t next;
};

template <class Tr>
struct Sm80Block {
  using T = typename Tr::T;
  static constexpr int kColumnBlocks = Tr::kTokens / 8;
  static constexpr int kDimBlocks = Tr::kHeadDim / 8;

  const Sm80Args& args;
  Sm80Shared<Tr>& shared;
  const WorkItem& item;
  int head;
  float out[kDimBlocks][4];
  float row_max[2];
  float row_sum[2];

  static __device__ __forceinline__ int Lane() { return threadIdx.x % 32; }
  static __device__ __forceinline__ int Warp() { return threadIdx.x / 32; }
  static __device__ __forceinline__ uint4* Chunk(uint4* rows, int row, int chunk) {
    return rows + row * Tr::kChunks + (chunk ^ (row % 8));
  }

  __device__ __forceinline__ void LoadQ() {
    const T* base = static_cast<const T*>(args.q) + head * args.q_head_stride +
                    item.row_begin * args.q_token_stride;
    for (int i = threadIdx.x; i < Tr::kRows * Tr::kChunks; i += Tr::kThreads) {
      const int row = i / Tr::kChunks;
      const bool valid = row < item.num_rows;
      const T* from = base + (valid ? row * args.q_token_stride : 0) + i % Tr::kChunks * 8;
      CpAsync16(Chunk(shared.q, row, i % Tr::kChunks), from, valid);
    }
  }

  // Tokens [kTokens * tile, ...) of K or V; past kv_len zeros. A page number outside the pool:
  // zeros.
  __device__ __forceinline__ void LoadKv(uint4* smem, const void* pool, int tile) {
    const PagedKv& kv = args.kv;
    const int32_t* table = kv.block_table + item.seq * kv.block_table_stride;
    const T* base = static_cast<const T*>(pool) + head / args.group * kv.head_stride;
#pragma unroll 4
    for (int i = threadIdx.x; i < Tr::kTokens * Tr::kChunks; i += Tr::kThreads) {
      const int row = i / Tr::kChunks;
      const int token = tile * Tr::kTokens + row;
      const int page = token < item.kv_len ? __ldg(table + (token >> args.page_shift)) : -1;
      const bool valid = page >= 0 && page < kv.num_pages;
      const int in_page = token & ((1 << args.page_shift) - 1);
      const T* from = base + (valid ? page * kv.page_stride + in_page * kv.token_stride : 0) +
                      i % Tr::kChunks * 8;
      CpAsync16(Chunk(smem, row, i % Tr::kChunks), from, valid);
    }
  }

  __device__ __forceinline__ void MultiplyQk(float (&scores)[kColumnBlocks][4]) {
    const int lane = Lane();
#pragma unroll
    for (int j = 0; j < kColumnBlocks; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[j][i] = 0;
    }
#pragma unroll
    for (int step = 0; step < Tr::kHeadDim / 16; ++step) {
      uint32_t q[4];
      LoadMatrix4(q, Chunk(shared.q, 16 * Warp() + lane % 16, 2 * step + lane / 16));
#pragma unroll
      for (int pair = 0; pair < kColumnBlocks / 2; ++pair) {
        // Matrices: tokens 0-7 chunk 0, tokens 0-7 chunk 1, tokens 8-15 chunk 0, tokens 8-15
        // chunk 1.
        uint32_t k[4];
        LoadMatrix4(k,
                    Chunk(shared.k, 16 * pair + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2));
        Mma16816<T>(scores[2 * pair], q, k[0], k[1]);
        Mma16816<T>(scores[2 * pair + 1], q, k[2], k[3]);
      }
    }
  }

  __device__ __forceinline__ void MultiplyPv(const float (&p)[kColumnBlocks][4]) {
    const int lane = Lane();
#pragma unroll
    for (int step = 0; step < Tr::kTokens / 16; ++step) {
      const float(&left)[4] = p[2 * step];
      const float(&right)[4] = p[2 * step + 1];
      const uint32_t a[4] = {PackPair<T>(left[0], left[1]), PackPair<T>(left[2], left[3]),
                             PackPair<T>(right[0], right[1]), PackPair<T>(right[2], right[3])};
#pragma unroll
      for (int pair = 0; pair < kDimBlocks / 2; ++pair) {
        // Matrices: tokens 0-7 chunk 0, tokens 8-15 chunk 0, tokens 0-7 chunk 1, tokens 8-15
        // chunk 1.
        uint32_t v[4];
        LoadMatrix4Transposed(v, Chunk(shared.v, 16 * step + lane % 16, 2 * pair + lane / 16));
        Mma16816<T>(out[2 * pair], a, v[0], v[1]);
        Mma16816<T>(out[2 * pair + 1], a, v[2], v[3]);
      }
    }
  }

  __device__ __forceinline__ int Position(int half) const {
    return item.position + 16 * Warp() + Lane() / 4 + 8 * half;
  }

  // Scales and caps scores and adds ALiBi; see prefill_attention.h.
  __device__ __forceinline__ void Transform(float (&scores)[kColumnBlocks][4], int tile) const {
    const float slope = args.alibi_slopes != nullptr ? __ldg(args.alibi_slopes + head) : 0.0f;
    const int column = tile * Tr::kTokens + 2 * (Lane() % 4);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int distance = column - Position(half);
#pragma unroll
      for (int j = 0; j < kColumnBlocks; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float score = scores[j][2 * half + e] * args.scale;
          if (args.logit_softcap != 0.0f) {
            score = args.logit_softcap * tanhf(score / args.logit_softcap);
          }
          scores[j][2 * half + e] = fmaf(slope, static_cast<float>(distance + 8 * j + e), score);
        }
      }
    }
  }

  // Sets scores of keys that a row may not see to -inf.
  __device__ __forceinline__ void Mask(float (&scores)[kColumnBlocks][4], int tile) const {
    const int first = tile * Tr::kTokens;
    const bool cut_right = first + Tr::kTokens > item.kv_len ||
                           (args.causal && first + Tr::kTokens > item.position + 1);
    const bool cut_left = args.window > 0 && first < item.position + Tr::kRows - args.window;
    if (!cut_right && !cut_left) return;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      int right = item.kv_len;
      if (args.causal) right = min(right, Position(half) + 1);
      const int left = args.window > 0 ? Position(half) - args.window + 1 : 0;
      const int column = first + 2 * (Lane() % 4);
#pragma unroll
      for (int j = 0; j < kColumnBlocks; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int key = column + 8 * j + e;
          if (key >= right || key < left) scores[j][2 * half + e] = -INFINITY;
        }
      }
    }
  }

  // Scores to unnormalised probabilities; rescales what was summed before.
  __device__ __forceinline__ void Softmax(float (&scores)[kColumnBlocks][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float highest = row_max[half];
#pragma unroll
      for (int j = 0; j < kColumnBlocks; ++j) {
        highest = fmaxf(highest, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
      }
      highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 1));
      highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 2));
      // A row that has seen no key yet: any finite offset gives zeros.
      const float offset = highest == -INFINITY ? 0.0f : highest * args.scale_log2;
      const float rescale = Exp2(fmaf(row_max[half], args.scale_log2, -offset));
      row_max[half] = highest;
      float sum = 0;
#pragma unroll
      for (int j = 0; j < kColumnBlocks; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& score = scores[j][2 * half + e];
          score = Exp2(fmaf(score, args.scale_log2, -offset));
          sum += score;
        }
      }
      row_sum[half] = fmaf(row_sum[half], rescale, sum);
#pragma unroll
      for (int j = 0; j < kDimBlocks; ++j) {
        out[j][2 * half] *= rescale;
        out[j][2 * half + 1] *= rescale;
      }
    }
  }

  // Divides by the row sums and writes the rows that exist, through shared memory for whole lines.
  __device__ __forceinline__ void Store() {
    const int lane = Lane();
    __syncthreads();  // the last reads of q are done: its place takes out
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = row_sum[half];
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      sum += SinkPart(args.sinks, head, row_max[half], args.scale_log2);
      const float inverse = sum > 0 ? 1.0f / sum : 0.0f;
      const int row = 16 * Warp() + lane / 4 + 8 * half;
#pragma unroll
      for (int j = 0; j < kDimBlocks; ++j) {
        reinterpret_cast<uint32_t*>(Chunk(shared.q, row, j))[lane % 4] =
            PackPair<T>(out[j][2 * half] * inverse, out[j][2 * half + 1] * inverse);
      }
    }
    __syncthreads();  // out is complete
    T* target = static_cast<T*>(args.out) + head * args.out_head_stride +
                item.row_begin * args.out_token_stride;
    for (int i = threadIdx.x; i < item.num_rows * Tr::kChunks; i += Tr::kThreads) {
      const int row = i / Tr::kChunks;
      *reinterpret_cast<uint4*>(target + row * args.out_token_stride + i % Tr::kChunks * 8) =
          *Chunk(shared.q, row, i % Tr::kChunks);
    }
    __syncthreads();  // reads done before the next tile's q lands
  }

  __device__ __forceinline__ void Run() {
#pragma unroll
    for (int j = 0; j < kDimBlocks; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[j][i] = 0;
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      row_max[half] = -INFINITY;
      row_sum[half] = 0;
    }
    // The plan's tiles are twice as long; the right one's second half may have nothing to see.
    const int first_tile = item.tile_begin * (kTileKv / Tr::kTokens);
    int end = item.kv_len;
    if (args.causal) end = min(end, item.position + item.num_rows);
    int tile = item.tile_begin < item.tile_end ? (end - 1) / Tr::kTokens : -1;
    if (tile >= first_tile) {
      LoadQ();
      LoadKv(shared.k, args.kv.k, tile);
      CpAsyncCommit();
    }
    for (; tile >= first_tile; --tile) {
      float scores[kColumnBlocks][4];
      CpAsyncWait<0>();
      __syncthreads();  // q and K are there; the last tile's V is no longer read
      LoadKv(shared.v, args.kv.v, tile);
      CpAsyncCommit();
      MultiplyQk(scores);
      CpAsyncWait<0>();
      __syncthreads();  // V is there; K is no longer read
      if (tile > first_tile) LoadKv(shared.k, args.kv.k, tile - 1);
      CpAsyncCommit();
      if constexpr (Tr::kTransform) Transform(scores, tile);
      Mask(scores, tile);
      Softmax(scores);
      MultiplyPv(scores);
    }
    Store();
  }
};

template <class Tr>
__global__ void __launch_bounds__(Tr::kThreads, 2)  // registers are plenty
    PrefillSm80Kernel(const __grid_constant__ Sm80Args args) {
  extern __shared__ __align__(128) uint8_t raw_shared[];
  auto& shared = *reinterpret_cast<Sm80Shared<Tr>*>(raw_shared);
  const TileSource<1> source(args.header, args.items, args.kv.num_kv_heads, args.group);
  for (uint32_t index = source.DrawFirst(); index < source.num_tiles();) {
    if (threadIdx.x == 0) shared.next = source.DrawNext();
    const Tile tile = source.Find(index);
    Sm80Block<Tr> block{args, shared, tile.item, tile.head};
    block.Run();  // has block barriers, so shared.next is visible, and ends with one
    index = shared.next;
    __syncthreads();  // all have read shared.next
  }
  if (threadIdx.x == 0) source.Finish();
}

}  // namespace pingti::kernels::prefill
