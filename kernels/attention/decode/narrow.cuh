// The arithmetic of a decode warp over int8 KV where at most eight rows (query tokens times heads
// of a group) share a KV head, as in decoding without drafts: products with swapped operands.
//
//   scores^T [16 tokens, 8 rows] = K q^T,   o^T [16 dims, 8 rows] += V^T P^T
//
// mma's M is 16 and its N is 8, so eight rows as N leave no part of a product empty, and take half
// of the products and registers that they take as M (softmax.cuh). K is multiplied as it is: q is
// split into two int8 numbers,
//
//   q = step (256 high + low),   step = max |q| / (127 * 256) of its row,
//
// finer than bf16's own steps for all but a row's smallest values, and K q^T is two integer
// products, exact. V is widened to bf16. Instructions on integers, of which widening is made, are
// what an SM runs out of.
// Fragments of lane l (g = l / 4, t = l % 4): scores of tokens g and g + 8, rows 2t and 2t + 1.
// Read next: kernel.cuh (who calls it), finish.cuh (how warps and workers combine).
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/attention/decode/fragments.cuh"
#include "kernels/attention/decode/softmax.cuh"

namespace pingti::kernels::decode {

// Rows 2t and 2t + 1: running maximum of raw scores, running sum (of this lane's tokens until the
// end), and the unnormalised output: o[block] holds dims 16 block + 2g and + 2g + 1, each of both
// rows, since transposing byte pairs leaves even dims in the upper half of a product's rows and odd
// ones in the lower.
template <class Tr>
struct NarrowState {
  float o[Tr::kHeadDim / 16][4];
  float max[2];
  float sum[2];

  __device__ void Reset() {
#pragma unroll
    for (int n = 0; n < Tr::kHeadDim / 16; ++n) o[n][0] = o[n][1] = o[n][2] = o[n][3] = 0.0f;
    max[0] = max[1] = -INFINITY;
    sum[0] = sum[1] = 0.0f;
  }

  __device__ __forceinline__ void Rescale(const float (&factors)[2]) {
#pragma unroll
    for (int n = 0; n < Tr::kHeadDim / 16; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) o[n][i] *= factors[i % 2];
    }
  }

  // As RowState has it.
  template <class Use>
  __device__ __forceinline__ void ForEachPair(int first, int count, const Use& use) const {
    const int g = threadIdx.x % 32 / 4;
    const int t2 = 2 * (threadIdx.x % 4);
#pragma unroll
    for (int block = 0; block < count / 16; ++block) {
      const float(&values)[4] = o[first / 16 + block];
      use(t2, 16 * block + 2 * g, make_float2(values[0], values[2]));
      use(t2 + 1, 16 * block + 2 * g, make_float2(values[1], values[3]));
    }
  }
};

// The eight query rows as B fragments, and what each lane's two rows may see.
template <class Tr>
struct NarrowQuery {
  static constexpr int kBlocks = Tr::kHeadDim / 32;
  uint32_t high[kBlocks][2];  // B fragments of 32 dims
  uint32_t low[kBlocks][2];
  float step[2];  // of rows 2t and 2t + 1
  int end[2];     // first position that they do not see

  // Row r is query token r / group, head r % group; rows past the last read as 0.
  __device__ void Load(const QueryArgs& args, const Segment& segment, int /*row_tile*/) {
    const int g = threadIdx.x % 32 / 4;
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int token = (2 * t + i) / args.group;
      end[i] = token < segment.q_len ? segment.kv_len - segment.q_len + token + 1 : segment.kv_len;
    }
    const int token = g / args.group;
    const bool real = token < segment.q_len;
    const int head = segment.kv_head * args.group + g % args.group;
    const auto* q = static_cast<const __nv_bfloat16*>(args.q) +
                    (segment.q_row + token) * args.q_token_stride + head * args.q_head_stride;
    float2 values[kBlocks][2][2];  // dims 32 block + 16 part + 4t to + 3
    float highest = 0.0f;
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const auto* from = reinterpret_cast<const uint32_t*>(q + 32 * block + 16 * part + 4 * t);
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
          const uint32_t raw = real ? __ldg(from + pair) : 0u;
          const float2 value = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(raw));
          values[block][part][pair] = value;
          highest = fmaxf(highest, fmaxf(fabsf(value.x), fabsf(value.y)));
        }
      }
    }
    highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 1));
    highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 2));
    constexpr float kSteps = 127.0f * 256.0f;
    const float own_step = highest / kSteps;  // of row g
    step[0] = __shfl_sync(~0u, own_step, 8 * t);
    step[1] = __shfl_sync(~0u, own_step, 8 * t + 4);
    const float inverse = highest > 0.0f ? kSteps / highest : 0.0f;
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const float2(&v)[2] = values[block][part];
        const int steps[4] = {__float2int_rn(v[0].x * inverse), __float2int_rn(v[0].y * inverse),
                              __float2int_rn(v[1].x * inverse), __float2int_rn(v[1].y * inverse)};
        high[block][part] = low[block][part] = 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int upper = (steps[i] + 128) >> 8;
          high[block][part] |= (static_cast<uint32_t>(upper) & 0xFFu) << (8 * i);
          low[block][part] |= (static_cast<uint32_t>(steps[i] - 256 * upper) & 0xFFu) << (8 * i);
        }
      }
    }
  }
};

template <class Tr>
using QueryOf = std::conditional_t<Tr::kNarrow, NarrowQuery<Tr>, QueryRows<Tr>>;
template <class Tr>
using StateOf = std::conditional_t<Tr::kNarrow, NarrowState<Tr>, RowState<Tr>>;

// Row `i` of a lane's two, in its warp's tile.
template <class Tr>
__device__ __forceinline__ int LaneRow(int i) {
  return Tr::kNarrow ? 2 * (threadIdx.x % 4) + i : threadIdx.x % 32 / 4 + 8 * i;
}

// One of the lanes that share a pair of rows.
template <class Tr>
__device__ __forceinline__ bool LeadsRows() {
  return Tr::kNarrow ? threadIdx.x % 32 < 4 : threadIdx.x % 4 == 0;
}

// Over the lanes that share a pair of rows.
template <class Tr>
__device__ __forceinline__ float SumOverLanes(float sum) {
  constexpr int kFirst = Tr::kNarrow ? 4 : 1;
  constexpr int kLast = Tr::kNarrow ? 16 : 2;
#pragma unroll
  for (int offset = kFirst; offset <= kLast; offset *= 2) {
    sum += __shfl_xor_sync(~0u, sum, offset);
  }
  return sum;
}

// s: tokens g (0, 1) and g + 8 (2, 3) of rows 2t and 2t + 1: raw scores.
template <class Tr>
__device__ __forceinline__ void NarrowScores(float (&s)[4], const NarrowQuery<Tr>& query,
                                             uint32_t k_tile, int token, const float* k_scale) {
  const int lane = threadIdx.x % 32;
  const int matrix = lane / 8;
  // Matrices: (tokens 0-7, chunk c), (8-15, c), (0-7, c+1), (8-15, c+1); a chunk is 16 dims.
  const int row = token + (matrix % 2) * 8 + lane % 8;
  int32_t high[4] = {};
  int32_t low[4] = {};
#pragma unroll
  for (int block = 0; block < NarrowQuery<Tr>::kBlocks; ++block) {
    uint32_t a[4];
    LoadMatrix4(a, k_tile + ChunkOffset<Tr>(row, 2 * block + matrix / 2));
    Mma16832(high, a, query.high[block][0], query.high[block][1]);
    Mma16832(low, a, query.low[block][0], query.low[block][1]);
  }
  const float scale[2] = {k_scale[token + lane / 4], k_scale[token + 8 + lane / 4]};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    s[i] = static_cast<float>(256 * high[i] + low[i]) * (scale[i / 2] * query.step[i % 2]);
  }
}

// Scores to probabilities in place; moves the running maximum and rescales what was summed before.
template <class Tr>
__device__ __forceinline__ void NarrowSoftmax(float (&s)[4], NarrowState<Tr>& state,
                                              float scale_log2) {
  float rescale[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float highest = fmaxf(s[i], s[2 + i]);
#pragma unroll
    for (int offset = 4; offset <= 16; offset *= 2) {
      highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, offset));
    }
    highest = fmaxf(highest, state.max[i]);
    // A row that has seen nothing yet keeps -inf; 0 stands in so that exp2 sees no inf - inf.
    const float finite = highest == -INFINITY ? 0.0f : highest;
    rescale[i] = Exp2((state.max[i] - finite) * scale_log2);
    state.max[i] = highest;
    const float base = finite * scale_log2;
    s[i] = Exp2(s[i] * scale_log2 - base);
    s[2 + i] = Exp2(s[2 + i] * scale_log2 - base);
    state.sum[i] = state.sum[i] * rescale[i] + (s[i] + s[2 + i]);
  }
  // Once the maximum has settled, which is soon, no row of the warp needs its output rescaled.
  if (__any_sync(~0u, rescale[0] != 1.0f || rescale[1] != 1.0f)) state.Rescale(rescale);
}

// o^T += V^T P^T over 16 tokens. With kMasked, tokens at or past `valid` (from `token`) are void,
// whatever their scales' memory holds; their int8 values are finite in any case.
template <class Tr, bool kMasked>
__device__ __forceinline__ void NarrowValues(const float (&s)[4], NarrowState<Tr>& state,
                                             uint32_t v_tile, int token, const float* v_scale,
                                             int valid) {
  using T = typename Tr::T;
  const int lane = threadIdx.x % 32;
  const int matrix = lane / 8;
  const int g = lane / 4;
  float scale[2] = {v_scale[token + g], v_scale[token + 8 + g]};
  if (kMasked && g >= valid) scale[0] = 0.0f;
  if (kMasked && g + 8 >= valid) scale[1] = 0.0f;
  // Transposed, a lane's tokens and rows change places: the probabilities' B fragment.
  const uint32_t b0 = Transpose8x8(PackPair<T>(s[0] * scale[0], s[1] * scale[0]));
  const uint32_t b1 = Transpose8x8(PackPair<T>(s[2] * scale[1], s[3] * scale[1]));
  // Matrices: (tokens 0-7, chunk c), (8-15, c), (0-7, c+1), (8-15, c+1).
  const int row = token + (matrix % 2) * 8 + lane % 8;
#pragma unroll
  for (int chunk = 0; chunk < Tr::kRowBytes / 16; chunk += 2) {
    uint32_t r[4];
    LoadMatrix4Transposed(r, v_tile + ChunkOffset<Tr>(row, chunk + matrix / 2));
#pragma unroll
    for (int i = 0; i < 2; ++i) {  // chunk + i is one block of 16 dims
      const uint32_t a[4] = {Widen2(r[2 * i]), Widen2(r[2 * i] >> 8), Widen2(r[2 * i + 1]),
                             Widen2(r[2 * i + 1] >> 8)};
      Mma16816<T>(state.o[chunk + i], a, b0, b1);
    }
  }
}

// One step of this warp: 16 tokens from `token` of the tile in `stage`.
template <class Tr>
__device__ __forceinline__ void Step(const Ring& ring, int stage, int token, int position,
                                     const NarrowQuery<Tr>& query, const StepRange& segment,
                                     const QueryArgs& args, NarrowState<Tr>& state) {
  float s[4];
  NarrowScores<Tr>(s, query, SmemAddress(ring.KTile<Tr>(stage)), token, ring.KScale<Tr>(stage));
  const bool ragged = position + 16 > segment.kv_len - segment.q_len + 1;
  if (ragged || (args.window > 0 && position < segment.kv_len - args.window)) {
    const int g = threadIdx.x % 32 / 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = position + g + 8 * (i / 2);
      const int end = query.end[i % 2];
      if (at >= end || (args.window > 0 && at < end - args.window)) s[i] = -INFINITY;
    }
  }
  NarrowSoftmax<Tr>(s, state, args.scale_log2);
  const uint32_t v_tile = SmemAddress(ring.VTile<Tr>(stage));
  if (ragged) {
    NarrowValues<Tr, true>(s, state, v_tile, token, ring.VScale<Tr>(stage),
                           segment.kv_len - position);
  } else {
    NarrowValues<Tr, false>(s, state, v_tile, token, ring.VScale<Tr>(stage), 0);
  }
}

}  // namespace pingti::kernels::decode
