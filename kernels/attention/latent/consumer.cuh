// The computing half of the latent attention kernel: one of two warpgroups that share a tile of
// query rows. Next: producer.cuh (the other half), kernel.cuh (the whole).
#pragma once

#include <cstdint>

#include "kernels/attention/decode/traits.cuh"
#include "kernels/attention/latent/traits.cuh"
#include "kernels/common/mma_sm80.cuh"
#include "kernels/common/tma.cuh"
#include "kernels/common/wgmma_f16.cuh"

namespace pingti::kernels::latent {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// A warpgroup scores its own tiles, every other one of a work's, and sums its half of the values
// over all tiles, in order. A thread holds two rows (row and row + 8), a quad a row. The weights of
// an own tile go to the other warpgroup through shared memory, with the rows' maxima: both then
// know the same maximum, and a row's sum is shared between them until the end.
//
// What the tensor cores do, in pairs of tiles t (of warpgroup 0) and t + 1:
//   warpgroup 0: scores t,      weighs t,  sums t,      sums t + 1
//   warpgroup 1: scores t + 1,  sums t,    weighs t + 1, sums t + 1
// so that both softmaxes run under products of the other warpgroup. Which of them a tile belongs to
// depends on its place in the work alone, and with it every bit of the result.
template <int kGroup, bool kInt8>
struct Consumer {
  using Scores = WgmmaF16<T, kTileTokens>;
  using Outs = WgmmaF16<T, kHalfDims>;
  static constexpr float kSlack = 8.0f;  // of exponents
  static constexpr int kScoreRegisters = kTileTokens / 2;
  static constexpr int kOutRegisters = kHalfDims / 2;
  static constexpr int kOther = kGroup ^ 1;
  static constexpr int kSteps = kBoxDims / 16;  // of depth 16 in a box, or in a tile's tokens
  // Hardware barriers: own weights are ready (one per warpgroup), a warpgroup meets itself, both
  // meet.
  static constexpr int kWeights = 1;
  static constexpr int kSelf = kWeights + 2;
  static constexpr int kBoth = kSelf + 2;

  const Args& args;
  Shared& shared;
  RowPacking packing;
  int lane;
  int warp;                 // of the warpgroup
  uint32_t rounds[2] = {};  // of either stage, before the current work
  uint32_t work_count = 0;
  uint32_t q_parity = 0;

  // Of one tile of query rows: what lasts as long as its work.
  struct Rows {
    float out[kOutRegisters];
    float max[2];
    float sum[2];  // this thread's columns of own tiles
  };

  __device__ __forceinline__ int Row(int half) const { return 16 * warp + lane / 4 + 8 * half; }
  __device__ __forceinline__ void Release(uint64_t* empty) const {
    if (lane == 0) MbarrierArrive(empty);
  }
  // Parity of the barriers that say that a tile of `owner` is there.
  template <int kOwner>
  __device__ __forceinline__ uint32_t Parity(int tile) const {
    return (rounds[kOwner] + tile / 2) % 2;
  }
  __device__ __forceinline__ void WaitBox(int stage, int box, uint32_t parity) const {
    // The converter brings halves of the values.
    const bool whole_half = kInt8 && box != kRopeBox;
    MbarrierWait(&shared.full[stage][whole_half ? box / kHalfBoxes * kHalfBoxes : box], parity);
  }

  // The rows' rotated part as A fragments; rows that do not exist are zero.
  __device__ __forceinline__ void LoadRopeQueries(const Work& work,
                                                  uint32_t (&rope)[kSteps][4]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int token = Row(half) / packing.heads;
      const int head = work.head + Row(half) % packing.heads;
      const bool exists = token < work.num_tokens && head < args.num_heads;
      const T* q = args.q + (work.q_row + token) * args.q_token_stride + head * args.q_head_stride +
                   kLatentValueDim + 2 * (lane % 4);
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
#pragma unroll
        for (int right = 0; right < 2; ++right) {
          rope[step][half + 2 * right] =
              exists ? *reinterpret_cast<const uint32_t*>(q + 16 * step + 8 * right) : 0;
        }
      }
    }
  }

  // Issues scores = q c^T of own tile number `tile` of the work, box by box as they arrive. The
  // rotated part comes last: a work's first one is on its way until then.
  __device__ __forceinline__ void IssueScores(float (&scores)[kScoreRegisters],
                                              const uint32_t (&rope)[kSteps][4], int tile) {
    const uint32_t parity = Parity<kGroup>(tile);
    const uint64_t queries = MakeKMajorDescriptor128B(shared.q[0]);
    const uint64_t latents = MakeKMajorDescriptor128B(shared.kv[kGroup][0]);
    WgmmaFence();
#pragma unroll
    for (int i = 0; i < kValueBoxes; ++i) {
      const int half = i < kHalfBoxes ? kGroup : kOther;
      const int box = half * kHalfBoxes + i % kHalfBoxes;
      WaitBox(kGroup, box, parity);
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        const int at = box * (kBoxBytes / 16) + 2 * step;
        Scores::template Run<false>(scores, queries + at, latents + at, i > 0 || step > 0);
      }
    }
    WaitBox(kGroup, kRopeBox, parity);
    WgmmaFence();  // the rotated part has come
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      Scores::template Run<false>(scores, rope[step],
                                  latents + kRopeBox * (kBoxBytes / 16) + 2 * step, true);
    }
    WgmmaCommit();
  }

  // Sets scores of tokens that a row does not see to -inf. `first` is the tile's first token.
  __device__ __forceinline__ void Mask(float (&scores)[kScoreRegisters], const Work& work,
                                       int first) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int seen = min(work.position + Row(half) / packing.heads + 1, work.kv_end);
      const int end = seen - first - 2 * (lane % 4);
#pragma unroll
      for (int j = 0; j < kTileTokens / 8; ++j) {
        if (8 * j >= end) scores[4 * j + 2 * half] = -INFINITY;
        if (8 * j + 1 >= end) scores[4 * j + 2 * half + 1] = -INFINITY;
      }
    }
  }

  // Takes `highest` as the rows' maxima and brings sums and outputs to them.
  __device__ __forceinline__ void RaiseMaxima(Rows& rows, const float (&highest)[2]) const {
    float keep[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      // A row that has seen no token yet: any finite offset gives zeros.
      const float offset = highest[half] == -INFINITY ? 0.0f : highest[half] * args.scale_log2;
      keep[half] = Exp2(fmaf(rows.max[half], args.scale_log2, -offset));
      rows.max[half] = highest[half];
      rows.sum[half] *= keep[half];
    }
    if (!__any_sync(~0u, keep[0] != 1.0f || keep[1] != 1.0f)) return;
#pragma unroll
    for (int i = 0; i < kOutRegisters; ++i) rows.out[i] *= keep[(i / 2) % 2];
  }

  // Turns an own tile's scores into weights. `highest`: what they are relative to, the row's
  // maximum but for kSlack: as long as no weight exceeds 2^kSlack an older maximum serves, and
  // outputs need no rescaling. `sums`: of this thread's weights.
  __device__ __forceinline__ void Softmax(float (&scores)[kScoreRegisters], const Rows& rows,
                                          float (&highest)[2], float (&sums)[2]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float max = rows.max[half];
#pragma unroll
      for (int j = 0; j < kTileTokens / 8; ++j) {
        max = fmaxf(max, fmaxf(scores[4 * j + 2 * half], scores[4 * j + 2 * half + 1]));
      }
      max = fmaxf(max, __shfl_xor_sync(~0u, max, 1));
      max = fmaxf(max, __shfl_xor_sync(~0u, max, 2));
      if ((max - rows.max[half]) * args.scale_log2 <= kSlack) max = rows.max[half];
      highest[half] = max;
      const float offset = max == -INFINITY ? 0.0f : max * args.scale_log2;
      sums[half] = 0.0f;
#pragma unroll
      for (int j = 0; j < kTileTokens / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& score = scores[4 * j + 2 * half + e];
          score = Exp2(fmaf(score, args.scale_log2, -offset));
          sums[half] += score;
        }
      }
    }
  }

  // Rounds the weights to fragments (the accumulator layout of S is the operand layout of P) and
  // shows them, with the maxima, to the other warpgroup.
  __device__ __forceinline__ void PublishWeights(const float (&scores)[kScoreRegisters],
                                                 const float (&highest)[2],
                                                 uint32_t (&p)[kSteps][4]) const {
    // Matrix i of an stmatrix.x4: rows 8 (i % 2) on, chunk 2 step + i / 2; lane 8 i + r addresses
    // row r.
    const int row = 16 * warp + lane % 8 + 8 * (lane / 8 % 2);
    const uint32_t base = SmemAddress(shared.p[kGroup][row]);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        p[step][i] = PackPair<T>(scores[8 * step + 2 * i], scores[8 * step + 2 * i + 1]);
      }
      const int chunk = (2 * step + lane / 16) ^ (row % 8);
      asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                       base + 16 * chunk),
                   "r"(p[step][0]), "r"(p[step][1]), "r"(p[step][2]), "r"(p[step][3])
                   : "memory");
    }
    if (lane % 4 == 0) {
      shared.row_max[kGroup][Row(0)] = highest[0];
      shared.row_max[kGroup][Row(1)] = highest[1];
    }
    FenceProxyAsync();  // the weights, before the other warpgroup's products read them
    NamedBarrierArrive(kWeights + kGroup, 256);
  }

  // Zeroes this half's values of tokens at or past the sequence's end, which may be anything (NaN,
  // which a weight of zero does not take away), if the tile has any.
  __device__ __forceinline__ void ZeroPastEnd(int stage, int tokens) const {
    if (tokens >= kTileTokens) return;
    for (int box = kGroup * kHalfBoxes; box < (kGroup + 1) * kHalfBoxes; ++box) {
      auto* chunks = reinterpret_cast<uint4*>(shared.kv[stage][box][tokens]);
      for (int i = 32 * warp + lane; i < (kTileTokens - tokens) * 8; i += 128) {
        chunks[i] = uint4{0, 0, 0, 0};
      }
    }
    FenceProxyAsync();
    NamedBarrierSync(kSelf + kGroup, 128);  // all zeros are written before any product reads them
  }

  // This half of the values in a stage, [tokens, dims] as wgmma's transposed B.
  __device__ __forceinline__ uint64_t Values(int stage) const {
    return MakeMatrixDescriptor(shared.kv[stage][kGroup * kHalfBoxes], Swizzle::k128B, kBoxBytes,
                                1024);
  }
  static constexpr int kValueStep = 16 * 128 / 16;  // 16 tokens, in units of a descriptor

  // Own tile, from its scores to the product of weights and values, finished. kInFlight: the
  // product of the tile before is not, yet.
  template <bool kInFlight>
  __device__ __forceinline__ void FinishOwn(float (&scores)[kScoreRegisters], Rows& rows,
                                            const Work& work, int tile) {
    const int first = (work.tile_begin + tile) * kTileTokens;
    if (first + kTileTokens > work.position + 1) Mask(scores, work, first);
    float highest[2];
    uint32_t p[kSteps][4];
    float sums[2];
    Softmax(scores, rows, highest, sums);
    PublishWeights(scores, highest, p);
    if constexpr (kInFlight) {
      WgmmaWait<0>();
      Release(&shared.half_empty[kOther][kGroup]);
    }
    RaiseMaxima(rows, highest);
    rows.sum[0] += sums[0];
    rows.sum[1] += sums[1];
    ZeroPastEnd(kGroup, work.kv_end - first);
    const uint64_t values = Values(kGroup);
    WgmmaFence();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      Outs::template Run<true>(rows.out, p[step], values + step * kValueStep, true);
    }
    WgmmaCommit();
    WgmmaWait<0>();
    Release(&shared.half_empty[kGroup][kGroup]);
  }

  // The other warpgroup's tile: issues the product of its weights and this half of the values.
  __device__ __forceinline__ void IssueOther(Rows& rows, const Work& work, int tile) {
    NamedBarrierSync(kWeights + kOther, 256);
    const float highest[2] = {shared.row_max[kOther][Row(0)], shared.row_max[kOther][Row(1)]};
    RaiseMaxima(rows, highest);
    const uint32_t parity = Parity<kOther>(tile);
#pragma unroll
    for (int i = 0; i < kHalfBoxes; ++i) WaitBox(kOther, kGroup * kHalfBoxes + i, parity);
    ZeroPastEnd(kOther, work.kv_end - (work.tile_begin + tile) * kTileTokens);
    const uint64_t weights = MakeKMajorDescriptor128B(shared.p[kOther]);
    const uint64_t values = Values(kOther);
    WgmmaFence();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      Outs::template Run<true>(rows.out, weights + 2 * step, values + step * kValueStep, true);
    }
    WgmmaCommit();
  }

  // After an own tile's scores: what they were made of may go.
  __device__ __forceinline__ void ReleaseScored(int tile, int num_tiles) const {
    Release(&shared.rope_empty[kGroup]);
    if (tile + 2 >= num_tiles) Release(&shared.q_empty);
  }

  // All tiles of a work.
  __device__ __forceinline__ void Attend(const Work& work, Rows& rows) {
    const int num_tiles = work.tile_end - work.tile_begin;
    uint32_t rope[kSteps][4];
    LoadRopeQueries(work, rope);
    MbarrierWait(&shared.q_full, q_parity);
    q_parity ^= 1;
    float scores[kScoreRegisters];
    int tile = kGroup;  // the next own one
    if constexpr (kGroup == 0) {
      IssueScores(scores, rope, 0);
      WgmmaWait<0>();
      ReleaseScored(0, num_tiles);
      FinishOwn<false>(scores, rows, work, 0);
      for (tile = 2; tile < num_tiles; tile += 2) {
        IssueOther(rows, work, tile - 1);
        IssueScores(scores, rope, tile);
        WgmmaWait<1>();
        Release(&shared.half_empty[kOther][kGroup]);
        WgmmaWait<0>();
        ReleaseScored(tile, num_tiles);
        FinishOwn<false>(scores, rows, work, tile);
      }
    } else {
      if (num_tiles == 1) Release(&shared.q_empty);
      for (; tile < num_tiles; tile += 2) {
        IssueScores(scores, rope, tile);
        IssueOther(rows, work, tile - 1);
        WgmmaWait<1>();
        ReleaseScored(tile, num_tiles);
        FinishOwn<true>(scores, rows, work, tile);
      }
    }
    if (tile == num_tiles) {
      IssueOther(rows, work, tile - 1);
      WgmmaWait<0>();
      Release(&shared.half_empty[kOther][kGroup]);
    }
    rounds[0] += (num_tiles + 1) / 2;
    rounds[1] += num_tiles / 2;
  }

  // The sums of whole rows, over both warpgroups.
  __device__ __forceinline__ void JoinSums(Rows& rows) const {
    float(&sums)[2][kTileRows] = shared.row_sum[work_count % 2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      rows.sum[half] += __shfl_xor_sync(~0u, rows.sum[half], 1);
      rows.sum[half] += __shfl_xor_sync(~0u, rows.sum[half], 2);
      if (lane % 4 == 0) sums[kGroup][Row(half)] = rows.sum[half];
    }
    NamedBarrierSync(kBoth, 256);
    rows.sum[0] += sums[kOther][Row(0)];
    rows.sum[1] += sums[kOther][Row(1)];
  }

  // The four lanes of a quad hold, of each of four chunks of 8 columns, a pair each (`pairs`, chunk
  // by chunk); afterwards lane q has the whole of chunk q.
  __device__ __forceinline__ uint4 GatherChunk(const uint32_t (&pairs)[4]) const {
    const bool odd = lane & 1;
    const bool high = lane & 2;
    const uint32_t near0 = __shfl_xor_sync(~0u, odd ? pairs[0] : pairs[1], 1);
    const uint32_t near1 = __shfl_xor_sync(~0u, odd ? pairs[2] : pairs[3], 1);
    // Of chunk `odd` and of chunk 2 + `odd`: the pairs of this lane and its neighbour, in order.
    const uint2 low_chunk = odd ? uint2{near0, pairs[1]} : uint2{pairs[0], near0};
    const uint2 high_chunk = odd ? uint2{near1, pairs[3]} : uint2{pairs[2], near1};
    const uint32_t far0 = __shfl_xor_sync(~0u, high ? low_chunk.x : high_chunk.x, 2);
    const uint32_t far1 = __shfl_xor_sync(~0u, high ? low_chunk.y : high_chunk.y, 2);
    return high ? uint4{far0, far1, high_chunk.x, high_chunk.y}
                : uint4{low_chunk.x, low_chunk.y, far0, far1};
  }

  // Divides by the sums and writes the rows that exist.
  __device__ __forceinline__ void StoreRows(const Rows& rows, const Work& work) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int token = Row(half) / packing.heads;
      const int head = work.head + Row(half) % packing.heads;
      const bool exists = token < work.num_tokens && head < args.num_heads;
      const float inverse = rows.sum[half] > 0 ? 1.0f / rows.sum[half] : 0.0f;
      T* to = args.out + (work.q_row + token) * args.out_token_stride +
              head * args.out_head_stride + kGroup * kHalfDims + 8 * (lane % 4);
#pragma unroll
      for (int chunk = 0; chunk < kHalfDims / 8; chunk += 4) {
        uint32_t pairs[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float* pair = rows.out + 4 * (chunk + i) + 2 * half;
          pairs[i] = PackPair<T>(pair[0] * inverse, pair[1] * inverse);
        }
        const uint4 whole = GatherChunk(pairs);
        if (exists) *reinterpret_cast<uint4*>(to + 8 * chunk) = whole;
      }
    }
  }

  // Writes a part of the result to its slot: sums as they are, then the rows' maxima and sums.
  __device__ __forceinline__ void StorePart(const Rows& rows, const Work& work, int rank) const {
    float* slot =
        args.partials + work.slot * decode::PartialFloats(args.partial_rows, kLatentValueDim);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int token = Row(half) / packing.heads;
      if (token >= work.num_tokens || work.head + Row(half) % packing.heads >= args.num_heads) {
        continue;
      }
      const int row = rank * kTileRows + Row(half);
      float* to = slot + row * kLatentValueDim + kGroup * kHalfDims + 2 * (lane % 4);
#pragma unroll
      for (int j = 0; j < kHalfDims / 8; ++j) {
        *reinterpret_cast<float2*>(to + 8 * j) =
            float2{rows.out[4 * j + 2 * half], rows.out[4 * j + 2 * half + 1]};
      }
      if (kGroup == 0 && lane % 4 == 0) {
        slot[args.partial_rows * kLatentValueDim + row] = rows.max[half];
        slot[args.partial_rows * (kLatentValueDim + 1) + row] = rows.sum[half];
      }
    }
  }

  // `rank`: which of the blocks of a worker this is.
  __device__ __forceinline__ void Run(int rank) {
    for (;; ++work_count) {
      const uint32_t slot = work_count % 2;
      MbarrierWait(&shared.work_full[slot], work_count / 2 % 2);
      const Work& work = shared.work[slot];
      if (work.seq < 0) break;
      Rows rows;
#pragma unroll
      for (int i = 0; i < kOutRegisters; ++i) rows.out[i] = 0.0f;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        rows.max[half] = -INFINITY;
        rows.sum[half] = 0.0f;
      }
      if (work.tile_begin < work.tile_end) Attend(work, rows);
      JoinSums(rows);
      if (work.slot < 0) {
        StoreRows(rows, work);
      } else {
        StorePart(rows, work, rank);
      }
      __syncwarp();  // the warp has read the work
      Release(&shared.work_empty[slot]);
    }
  }
};

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace pingti::kernels::latent
