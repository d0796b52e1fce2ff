// The arithmetic of one decode warp: its query rows in registers, one step of KV tokens at a time
// through scores, online softmax and the product with V.
// Read next: kernel.cuh (who calls it), finish.cuh (how warps and workers combine).
#pragma once

#include <cstdint>

#include "kernels/attention/decode/fragments.cuh"

namespace pingti::kernels::decode {

struct QueryArgs {
  const void* q;
  int64_t q_token_stride;
  int64_t q_head_stride;
  void* out;
  int64_t out_token_stride;
  int64_t out_head_stride;
  int group;           // query heads per KV head
  int window;          // <= 0: none
  float scale_log2;    // softmax_scale * log2(e)
  const float* sinks;  // of query heads, or null
};

// Rows g and g + 8 of the warp's row tile: running maximum of raw scores, running sum (of this
// lane's columns until the end), and the unnormalised output.
template <class Tr>
struct RowState {
  float o[Tr::kHeadDim / 8][4];
  float max[2];
  float sum[2];

  __device__ void Reset() {
#pragma unroll
    for (int n = 0; n < Tr::kHeadDim / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) o[n][i] = 0.0f;
    }
    max[0] = max[1] = -INFINITY;
    sum[0] = sum[1] = 0.0f;
  }

  __device__ __forceinline__ void Rescale(const float (&factors)[2]) {
#pragma unroll
    for (int n = 0; n < Tr::kHeadDim / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) o[n][i] *= factors[i / 2];
    }
  }

  // Calls use(row, dim, values of dim and the next) for this lane's part of dims [first, first +
  // count), with dims counted from `first`.
  template <class Use>
  __device__ __forceinline__ void ForEachPair(int first, int count, const Use& use) const {
    const int g = threadIdx.x % 32 / 4;
#pragma unroll
    for (int block = 0; block < count / 16; ++block) {
      const int n = 2 * (first / 16 + block);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int row_half = 0; row_half < 2; ++row_half) {
          use(g + 8 * row_half, OutputDim<Tr>(block, half),
              OutputPair<Tr>(o[n], o[n + 1], half, row_half));
        }
      }
    }
  }
};

// The warp's 16 query rows as A fragments, and what each lane's two rows may see.
template <class Tr>
struct QueryRows {
  uint32_t a[Tr::kHeadDim / 16][4];
  int end[2];  // first position that row g (+8) does not see

  // Row r of the packed rows is query token r / group, head r % group; rows past the last read as
  // 0.
  __device__ void Load(const QueryArgs& args, const Segment& segment, int row_tile) {
    const int g = threadIdx.x % 32 / 4;
    const uint8_t* base = static_cast<const uint8_t*>(args.q);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = row_tile * 16 + half * 8 + g;
      const int token = row / args.group;
      const bool real = token < segment.q_len;
      end[half] = real ? segment.kv_len - segment.q_len + token + 1 : segment.kv_len;
      const int head = segment.kv_head * args.group + row % args.group;
      const uint8_t* q =
          base + 2 * ((segment.q_row + token) * args.q_token_stride + head * args.q_head_stride);
#pragma unroll
      for (int block = 0; block < Tr::kHeadDim / 16; ++block) {
#pragma unroll
        for (int part = 0; part < 2; ++part) {
          a[block][2 * part + half] =
              real ? __ldg(reinterpret_cast<const uint32_t*>(q + 2 * DepthDim<Tr>(block, part)))
                   : 0u;
        }
      }
    }
  }
};

// s[n] = rows x tokens [8n, 8n+8) of the step: raw scores, times the key scales for int8.
template <class Tr>
__device__ __forceinline__ void Scores(float (&s)[Tr::kStepTokens / 8][4],
                                       const QueryRows<Tr>& query, uint32_t k_tile, int token,
                                       const float* k_scale) {
#pragma unroll
  for (int n = 0; n < Tr::kStepTokens / 8; ++n) {
    s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0.0f;
  }
#pragma unroll
  for (int part = 0; part < Tr::kStepTokens / 16; ++part) {
    ForEachKFragment<Tr>(k_tile, token + 16 * part,
                         [&](int block, int n, uint32_t b0, uint32_t b1) {
                           Mma16816<typename Tr::T>(s[2 * part + n], query.a[block], b0, b1);
                         });
  }
  if constexpr (Tr::kInt8) {
    const int t2 = 2 * (threadIdx.x % 4);
#pragma unroll
    for (int n = 0; n < Tr::kStepTokens / 8; ++n) {
      const float2 scale = *reinterpret_cast<const float2*>(k_scale + token + 8 * n + t2);
      s[n][0] *= scale.x;
      s[n][1] *= scale.y;
      s[n][2] *= scale.x;
      s[n][3] *= scale.y;
    }
  }
}

// Hides what a row may not see. `position` is the step's first token in the sequence.
template <class Tr>
__device__ __forceinline__ void MaskScores(float (&s)[Tr::kStepTokens / 8][4],
                                           const QueryRows<Tr>& query, int position, int window) {
  const int t2 = 2 * (threadIdx.x % 4);
#pragma unroll
  for (int n = 0; n < Tr::kStepTokens / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = position + 8 * n + t2 + i % 2;
      const int end = query.end[i / 2];
      if (at >= end || (window > 0 && at < end - window)) s[n][i] = -INFINITY;
    }
  }
}

// Scores to probabilities in place; moves the running maximum and rescales what was summed before.
template <class Tr>
__device__ __forceinline__ void OnlineSoftmax(float (&s)[Tr::kStepTokens / 8][4],
                                              RowState<Tr>& state, float scale_log2) {
  float base[2];
  float rescale[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float highest = state.max[half];
#pragma unroll
    for (int n = 0; n < Tr::kStepTokens / 8; ++n) {
      highest = fmaxf(highest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    }
    highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 1));
    highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 2));
    // A row that has seen nothing yet keeps -inf; 0 stands in so that exp2 sees no inf - inf.
    const float finite = highest == -INFINITY ? 0.0f : highest;
    rescale[half] = Exp2((state.max[half] - finite) * scale_log2);
    state.max[half] = highest;
    base[half] = finite * scale_log2;
  }
#pragma unroll
  for (int n = 0; n < Tr::kStepTokens / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) s[n][i] = Exp2(s[n][i] * scale_log2 - base[i / 2]);
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = state.sum[half] * rescale[half];
#pragma unroll
    for (int n = 0; n < Tr::kStepTokens / 8; ++n) sum += s[n][2 * half] + s[n][2 * half + 1];
    state.sum[half] = sum;
  }
  // Once the maximum has settled, which is soon, no row of the warp needs its output rescaled.
  if (__any_sync(~0u, rescale[0] != 1.0f || rescale[1] != 1.0f)) state.Rescale(rescale);
}

// o += P V over the step. With kMasked, tokens at or past `valid` (from the step's first) are void.
template <class Tr, bool kMasked>
__device__ __forceinline__ void AccumulateValues(float (&s)[Tr::kStepTokens / 8][4],
                                                 RowState<Tr>& state, uint32_t v_tile, int token,
                                                 const float* v_scale, int valid) {
  using T = typename Tr::T;
  if constexpr (Tr::kInt8) {
    const int t2 = 2 * (threadIdx.x % 4);
#pragma unroll
    for (int n = 0; n < Tr::kStepTokens / 8; ++n) {
      float2 scale = *reinterpret_cast<const float2*>(v_scale + token + 8 * n + t2);
      if (kMasked && 8 * n + t2 >= valid) scale.x = 0.0f;
      if (kMasked && 8 * n + t2 + 1 >= valid) scale.y = 0.0f;
      s[n][0] *= scale.x;
      s[n][1] *= scale.y;
      s[n][2] *= scale.x;
      s[n][3] *= scale.y;
    }
  }
#pragma unroll
  for (int part = 0; part < Tr::kStepTokens / 16; ++part) {
    // The scores' C fragment is the probabilities' A fragment, column pairs for column pairs.
    const uint32_t a[4] = {PackPair<T>(s[2 * part][0], s[2 * part][1]),
                           PackPair<T>(s[2 * part][2], s[2 * part][3]),
                           PackPair<T>(s[2 * part + 1][0], s[2 * part + 1][1]),
                           PackPair<T>(s[2 * part + 1][2], s[2 * part + 1][3])};
    ForEachVFragment<Tr, kMasked>(v_tile, token + 16 * part, valid - 16 * part,
                                  [&](int block, int n, uint32_t b0, uint32_t b1) {
                                    Mma16816<T>(state.o[2 * block + n], a, b0, b1);
                                  });
  }
}

// What a step needs to know of its segment.
struct StepRange {
  int kv_len;
  int q_len;
};

// One step of this warp: tokens [token, token + kStepTokens) of the tile in `stage`.
template <class Tr>
__device__ __forceinline__ void Step(const Ring& ring, int stage, int token, int position,
                                     const QueryRows<Tr>& query, const StepRange& segment,
                                     const QueryArgs& args, RowState<Tr>& state) {
  float s[Tr::kStepTokens / 8][4];
  Scores<Tr>(s, query, SmemAddress(ring.KTile<Tr>(stage)), token, ring.KScale<Tr>(stage));
  const bool ragged = position + Tr::kStepTokens > segment.kv_len - segment.q_len + 1;
  if (ragged || (args.window > 0 && position < segment.kv_len - args.window)) {
    MaskScores<Tr>(s, query, position, args.window);
  }
  OnlineSoftmax<Tr>(s, state, args.scale_log2);
  const uint32_t v_tile = SmemAddress(ring.VTile<Tr>(stage));
  if (ragged) {
    AccumulateValues<Tr, true>(s, state, v_tile, token, ring.VScale<Tr>(stage),
                               segment.kv_len - position);
  } else {
    AccumulateValues<Tr, false>(s, state, v_tile, token, ring.VScale<Tr>(stage), 0);
  }
}

}  // namespace pingti::kernels::decode
