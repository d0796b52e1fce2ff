// The end of a segment: warps that shared its tokens combine through shared memory; a piece of a
// cut (sequence, head) goes to its worker's slot, and the worker that arrives last combines all
// pieces in worker order (so the result does not depend on who was last).
//
// Run by the consumer warps only; they meet on named barrier 1.
#pragma once

#include <cstdint>

#include "kernels/attention/decode/narrow.cuh"
#include "kernels/attention/decode/softmax.cuh"

namespace pingti::kernels::decode {

struct PartialArgs {
  float* partials;    // [2 * num_workers][PartialFloats(rows, head_dim)]
  int32_t* counters;  // [num_seqs, num_kv_heads], zero before and after a launch
  int rows;           // max_q_len * group
};

// Shared memory of the combination, see SharedLayout.
struct MergeArea {
  float* values;   // [kConsumerWarps][kWarpRows][kMergeDims], 8-float columns swizzled by row
  float* row_max;  // [kConsumerWarps][kWarpRows]
  float* row_sum;  // [kConsumerWarps][kWarpRows]
  int* flag;
};

__device__ __forceinline__ void ConsumerSync() { NamedBarrierSync(1, kConsumerWarps * 32); }

template <class T>
__device__ __forceinline__ void StoreRow4(const QueryArgs& args, const Segment& segment, int row,
                                          int dim, float4 value) {
  const int head = segment.kv_head * args.group + row % args.group;
  const int64_t at = (segment.q_row + row / args.group) * args.out_token_stride +
                     head * args.out_head_stride + dim;
  *reinterpret_cast<uint2*>(static_cast<uint8_t*>(args.out) + 2 * at) =
      make_uint2(PackPair<T>(value.x, value.y), PackPair<T>(value.z, value.w));
}

// What the sink of a row's head adds to the row's sum, which is relative to `highest`.
__device__ __forceinline__ float SinkPart(const QueryArgs& args, const Segment& segment, int row,
                                          float highest) {
  if (args.sinks == nullptr) return 0.0f;
  constexpr float kLog2E = 1.44269504f;
  const float sink = __ldg(args.sinks + segment.kv_head * args.group + row % args.group);
  const float finite = highest == -INFINITY ? 0.0f : highest;
  return Exp2(sink * kLog2E - finite * args.scale_log2);
}

// A row no key reached (an unused slot) is zero, by definition.
__device__ __forceinline__ float4 Normalise(float4 value, float sum) {
  const float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
  return make_float4(value.x * inverse, value.y * inverse, value.z * inverse, value.w * inverse);
}

// Combines the pieces of `segment`'s (sequence, head) from all workers' slots, in worker order.
template <class Tr>
__device__ void CombineWorkers(const Segment& segment, const QueryArgs& args,
                               const PartialArgs& partial) {
  constexpr int kColumns = Tr::kHeadDim / 4;
  constexpr int kBatch = 8;  // workers whose slots are read together: one latency for all
  const int64_t slot_floats = PartialFloats(partial.rows, Tr::kHeadDim);
  const int units = segment.q_len * args.group * kColumns;
  for (int unit = threadIdx.x; unit < units; unit += kConsumerWarps * 32) {
    const int row = unit / kColumns;
    const int dim = unit % kColumns * 4;
    float highest = -INFINITY;
    float sum = 0.0f;
    float4 total = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int first = segment.first_worker; first <= segment.last_worker; first += kBatch) {
      float4 value[kBatch];
      float max[kBatch];
      float part[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        max[i] = -INFINITY;
        part[i] = 0.0f;
        value[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        const int worker = first + i;
        if (worker > segment.last_worker) continue;
        const bool second_slot = worker == segment.first_worker && segment.first_worker_had_other;
        const float* base = partial.partials + (2 * worker + (second_slot ? 1 : 0)) * slot_floats;
        value[i] = __ldcg(reinterpret_cast<const float4*>(base + row * Tr::kHeadDim + dim));
        max[i] = __ldcg(base + partial.rows * Tr::kHeadDim + row);
        part[i] = __ldcg(base + partial.rows * (Tr::kHeadDim + 1) + row);
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const float new_highest = fmaxf(highest, max[i]);
        const float finite = new_highest == -INFINITY ? 0.0f : new_highest;
        const float keep = Exp2((highest - finite) * args.scale_log2);
        const float add = Exp2((max[i] - finite) * args.scale_log2);
        highest = new_highest;
        sum = sum * keep + part[i] * add;
        total = make_float4(total.x * keep + value[i].x * add, total.y * keep + value[i].y * add,
                            total.z * keep + value[i].z * add, total.w * keep + value[i].w * add);
      }
    }
    sum += SinkPart(args, segment, row, highest);
    StoreRow4<typename Tr::T>(args, segment, row, dim, Normalise(total, sum));
  }
}

// Writes this warp's rows of dims [pass * kMergeDims, ...) to the merge area. `pass` is a constant
// once the caller's loop is unrolled.
template <class Tr>
__device__ __forceinline__ void StageRows(const StateOf<Tr>& state, const MergeArea& area, int pass,
                                          int rows_in_tile) {
  constexpr int kMergeDims = Tr::kMergeDims;
  float* own = area.values + threadIdx.x / 32 * Tr::kWarpRows * kMergeDims;
  state.ForEachPair(pass * kMergeDims, kMergeDims, [&](int row, int dim, float2 pair) {
    if (row >= rows_in_tile) return;
    const int column = (dim / 8 ^ row % 8) * 8 + dim % 8;
    *reinterpret_cast<float2*>(own + row * kMergeDims + column) = pair;
  });
}

// Sums the token warps' rows from the merge area and sends them to `out` or to the worker's slot.
template <class Tr>
__device__ __forceinline__ void EmitRows(const MergeArea& area, int pass, const Segment& segment,
                                         const QueryArgs& args, const PartialArgs& partial) {
  constexpr int kMergeDims = Tr::kMergeDims;
  constexpr int kColumns = kMergeDims / 4;
  const int rows = segment.q_len * args.group;
  float* slot = partial.partials + segment.slot * PartialFloats(partial.rows, Tr::kHeadDim);
  for (int unit = threadIdx.x; unit < rows * kColumns; unit += kConsumerWarps * 32) {
    const int row = unit / kColumns;
    const int dim = unit % kColumns * 4;
    const int first_warp = row / Tr::kWarpRows * Tr::kTokenWarps;
    const int column = (dim / 8 ^ row % 8) * 8 + dim % 8;
    float4 total = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    float sum = 0.0f;
    float highest = -INFINITY;
#pragma unroll
    for (int i = 0; i < Tr::kTokenWarps; ++i) {
      const int stat = (first_warp + i) * Tr::kWarpRows + row % Tr::kWarpRows;
      const float4 value =
          *reinterpret_cast<const float4*>(area.values + stat * kMergeDims + column);
      total =
          make_float4(total.x + value.x, total.y + value.y, total.z + value.z, total.w + value.w);
      sum += area.row_sum[stat];
      highest = fmaxf(highest, area.row_max[stat]);
    }
    const int out_dim = pass * kMergeDims + dim;
    if (segment.whole) {
      sum += SinkPart(args, segment, row, highest);
      StoreRow4<typename Tr::T>(args, segment, row, out_dim, Normalise(total, sum));
    } else {
      *reinterpret_cast<float4*>(slot + row * Tr::kHeadDim + out_dim) = total;
      if (out_dim == 0) {
        slot[partial.rows * Tr::kHeadDim + row] = highest;
        slot[partial.rows * (Tr::kHeadDim + 1) + row] = sum;
      }
    }
  }
}

// First half of the end of a segment: each warp shows its rows' maxima. Returns the sums of this
// lane's two rows, over all lanes. The caller's barrier lets FinishSegment read them.
template <class Tr>
__device__ __forceinline__ float2 ShareMaxima(const StateOf<Tr>& state, const MergeArea& area) {
  const int warp = threadIdx.x / 32;
  float sum[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    sum[i] = SumOverLanes<Tr>(state.sum[i]);
    if (LeadsRows<Tr>()) area.row_max[warp * Tr::kWarpRows + LaneRow<Tr>(i)] = state.max[i];
  }
  return make_float2(sum[0], sum[1]);
}

// Second half, by all consumer warps. Uses up `state`.
template <class Tr>
__device__ __forceinline__ void FinishSegment(StateOf<Tr>& state, float2 sums,
                                              const MergeArea& area, const Segment& segment,
                                              int num_kv_heads, const QueryArgs& args,
                                              const PartialArgs& partial) {
  const int warp = threadIdx.x / 32;
  const int row_tile = warp / Tr::kTokenWarps;
  // `segment` may be overwritten once the last barrier below has been passed by all.
  const bool whole = segment.whole;
  float factors[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float* maxima = area.row_max + row_tile * Tr::kTokenWarps * Tr::kWarpRows;
    float highest = -INFINITY;
#pragma unroll
    for (int w = 0; w < Tr::kTokenWarps; ++w) {
      highest = fmaxf(highest, maxima[w * Tr::kWarpRows + LaneRow<Tr>(i)]);
    }
    const float finite = highest == -INFINITY ? 0.0f : highest;
    factors[i] = Exp2((state.max[i] - finite) * args.scale_log2);
    if (LeadsRows<Tr>()) {
      area.row_sum[warp * Tr::kWarpRows + LaneRow<Tr>(i)] = (i == 0 ? sums.x : sums.y) * factors[i];
    }
  }
  state.Rescale(factors);
  const int rows_in_tile = segment.q_len * args.group - row_tile * Tr::kWarpRows;
#pragma unroll
  for (int pass = 0; pass < Tr::kHeadDim / Tr::kMergeDims; ++pass) {
    StageRows<Tr>(state, area, pass, rows_in_tile);
    ConsumerSync();  // rows and sums are in place
    EmitRows<Tr>(area, pass, segment, args, partial);
    ConsumerSync();  // all have read: the area may be overwritten
  }
  if (whole) return;

  const int parts = segment.last_worker - segment.first_worker + 1;
  int32_t* counter = partial.counters + segment.seq * num_kv_heads + segment.kv_head;
  __threadfence();  // this thread's part of the slot is visible before the block counts itself
  ConsumerSync();   // ... and so is every other thread's
  if (threadIdx.x == 0) {
    const bool last = atomicAdd(counter, 1) == parts - 1;
    if (last) *counter = 0;  // ready for the next launch
    *area.flag = last;
    __threadfence();  // the other workers' slots are read after their counts
  }
  ConsumerSync();  // flag is set
  if (*area.flag) CombineWorkers<Tr>(segment, args, partial);
  ConsumerSync();  // all have read the flag
}

}  // namespace pingti::kernels::decode
