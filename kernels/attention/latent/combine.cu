// Joins the parts of a latent decode: rows whose latents more than one worker read.
//
//   m = max_i m_i; l = sum_i l_i 2^(k m_i - k m); out = sum_i O_i 2^(k m_i - k m) / l
//
// over the parts i in the workers' order, k = softmax_scale log2 e.
//
// Inputs: the plan and the workspace of the launch before. Each block lists what the boundaries
// between workers cut, then takes its share of the rows. Block: 128 threads, each four of
// the 512 columns. Grid: a few blocks per multiprocessor, which end at once if nothing was cut.
// Bytes: (512 + 2) * 4 read per part and row, 1,024 written per row; from L2. Bound by latency.
// Accuracy: f32, rounded once. Architectures: sm_90a.
// Source: Flash-Decoding (Dao et al. 2023).

#include <algorithm>

#include "kernels/attention/latent/launch.h"
#include "kernels/common/mbarrier.cuh"
#include "kernels/common/mma_sm80.cuh"
#include "kernels/common/overlap.h"

namespace pingti::kernels::latent {
namespace {

constexpr int kCombineThreads = kLatentValueDim / 4;
constexpr int kWarps = kCombineThreads / 32;
constexpr int kMaxWorkers = 256;  // at least the multiprocessors of any card

// How many parts a block reads together, with one latency for all, and how many blocks a
// multiprocessor then has registers for: few rows have many parts, many rows few.
struct FewRows {
  static constexpr int kBatch = 16;
  static constexpr int kBlocksPerSm = 4;
};
struct ManyRows {
  static constexpr int kBatch = 8;
  static constexpr int kBlocksPerSm = 8;
};

struct CombineArgs {
  Args args;
  DecodeArgs source;
  int num_workers;
  int tile_rows;  // of a tile, those that may exist
};

// One worker's rows of a sequence, which several workers read a part of each.
struct Cut {
  int32_t q_row;
  int32_t q_len;
  int32_t group;
  int32_t first_worker;
  int32_t num_parts;
  bool first_had_other;
};

struct CombineShared {
  Cut cuts[kMaxWorkers];
  float weight[kMaxWorkers];
  float warp_values[kWarps];
  int warp_counts[kWarps];
};

// Lists the cuts in the order of workers; returns how many. Ends with a block barrier.
__device__ int ListCuts(const CombineArgs& combine, CombineShared& shared) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  int num_cuts = 0;
  for (int first = 1; first < combine.num_workers; first += kCombineThreads) {
    const int worker = first + threadIdx.x;
    decode::Segment segment;
    bool cuts = false;
    if (worker < combine.num_workers) {
      decode::SegmentWalk walk(combine.source.plan, worker);
      // Of the boundaries that cut one sequence, the first lists it.
      cuts = walk.Next(&segment) && !segment.whole && segment.first_worker == worker - 1;
    }
    const uint32_t of_warp = __ballot_sync(~0u, cuts);
    if (lane == 0) shared.warp_counts[warp] = __popc(of_warp);
    __syncthreads();  // every warp's count is in place
    int at = num_cuts + __popc(of_warp & ((1u << lane) - 1));
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) at += shared.warp_counts[w];
      num_cuts += shared.warp_counts[w];
    }
    if (cuts) {
      shared.cuts[at] = {segment.q_row,
                         segment.q_len,
                         segment.kv_head,
                         segment.first_worker,
                         segment.last_worker - segment.first_worker + 1,
                         segment.first_worker_had_other};
    }
    __syncthreads();  // the cuts are listed, and the counts may be overwritten
  }
  return num_cuts;
}

struct MaxOf {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
struct SumOf {
  __device__ float operator()(float a, float b) const { return a + b; }
};

// `value` of all threads, to all of them.
template <class Join>
__device__ float BlockReduce(float value, const Join& join, float* warp_values) {
  for (int delta = 16; delta > 0; delta /= 2) {
    value = join(value, __shfl_xor_sync(~0u, value, delta));
  }
  __syncthreads();  // readers of an earlier reduction are done
  if (threadIdx.x % 32 == 0) warp_values[threadIdx.x / 32] = value;
  __syncthreads();  // every warp's value is in place
  value = warp_values[0];
  for (int warp = 1; warp < kWarps; ++warp) value = join(value, warp_values[warp]);
  return value;
}

// The slots of one row's parts.
struct Parts {
  const float* partials;
  int64_t slot_floats;
  int first_worker;
  bool first_had_other;
  int rows;
  int row;

  __device__ const float* Slot(int part) const {
    const int worker = first_worker + part;
    return partials + (2 * worker + (part == 0 && first_had_other ? 1 : 0)) * slot_floats;
  }
  __device__ float Max(int part) const { return __ldcg(Slot(part) + rows * kLatentValueDim + row); }
  __device__ float Sum(int part) const {
    return __ldcg(Slot(part) + rows * (kLatentValueDim + 1) + row);
  }
  __device__ float4 Values(int part, int column) const {
    return __ldcg(reinterpret_cast<const float4*>(Slot(part) + row * kLatentValueDim + column));
  }
};

// Sets the parts' weights; returns the inverse of the row's sum. Ends with a block barrier.
__device__ float WeighParts(const Parts& parts, int num_parts, float scale_log2,
                            CombineShared& shared) {
  constexpr int kPerThread = kMaxWorkers / kCombineThreads;
  float max[kPerThread];
  float sums[kPerThread];
  float highest = -INFINITY;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int part = i * kCombineThreads + threadIdx.x;
    max[i] = part < num_parts ? parts.Max(part) : -INFINITY;
    sums[i] = part < num_parts ? parts.Sum(part) : 0.0f;
    highest = fmaxf(highest, max[i]);
  }
  highest = BlockReduce(highest, MaxOf(), shared.warp_values);
  const float finite = highest == -INFINITY ? 0.0f : highest;
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const float weight = Exp2((max[i] - finite) * scale_log2);
    shared.weight[i * kCombineThreads + threadIdx.x] = weight;
    sum += sums[i] * weight;
  }
  sum = BlockReduce(sum, SumOf(), shared.warp_values);
  return sum > 0.0f ? 1.0f / sum : 0.0f;
}

// Joins row `row` of a worker's tiles, if it exists. All threads of the block.
template <class Size>
__device__ void JoinRow(const CombineArgs& combine, const Cut& cut, int row,
                        CombineShared& shared) {
  const Args& args = combine.args;
  const RowPacking& packing = combine.source.packing;
  const int row_tile = cut.group * combine.source.blocks_per_worker + row / kTileRows;
  const int in_tile = row % kTileRows;
  const int token = row_tile / packing.head_tiles * packing.tokens + in_tile / packing.heads;
  const int head = row_tile % packing.head_tiles * packing.heads + in_tile % packing.heads;
  if (token >= cut.q_len || head >= args.num_heads) return;
  const Parts parts{args.partials,
                    static_cast<int64_t>(decode::PartialFloats(args.partial_rows, kLatentValueDim)),
                    cut.first_worker,
                    cut.first_had_other,
                    args.partial_rows,
                    row};
  constexpr int kBatch = Size::kBatch;
  const int column = threadIdx.x * 4;
  float4 values[kBatch];
  const auto load = [&](int first) {
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (first + i < cut.num_parts) values[i] = parts.Values(first + i, column);
    }
  };
  load(0);  // on their way while the parts are weighed
  const float inverse = WeighParts(parts, cut.num_parts, args.scale_log2, shared);
  float4 total = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  for (int first = 0; first < cut.num_parts; first += kBatch) {
    if (first > 0) load(first);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (first + i >= cut.num_parts) continue;
      const float weight = shared.weight[first + i];
      total = make_float4(total.x + values[i].x * weight, total.y + values[i].y * weight,
                          total.z + values[i].z * weight, total.w + values[i].w * weight);
    }
  }
  T* out =
      args.out + (cut.q_row + token) * args.out_token_stride + head * args.out_head_stride + column;
  *reinterpret_cast<uint2*>(out) = make_uint2(PackPair<T>(total.x * inverse, total.y * inverse),
                                              PackPair<T>(total.z * inverse, total.w * inverse));
}

template <class Size>
__global__ void __launch_bounds__(kCombineThreads, Size::kBlocksPerSm)
    CombineKernel(const CombineArgs combine) {
  __shared__ CombineShared shared;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const int num_cuts = ListCuts(combine, shared);
  const int rows = combine.source.blocks_per_worker * combine.tile_rows;
  for (int item = blockIdx.x; item < num_cuts * rows; item += gridDim.x) {
    const int row = item % rows;
    JoinRow<Size>(combine, shared.cuts[item / rows],
                  row / combine.tile_rows * kTileRows + row % combine.tile_rows, shared);
  }
}

}  // namespace

cudaError_t LaunchCombine(const Args& args, const DecodeArgs& source, const DecodeGrid& grid,
                          int num_seqs, cudaStream_t stream) {
  if (grid.num_workers < 2) return cudaSuccess;
  if (grid.num_workers > kMaxWorkers) return cudaErrorNotSupported;
  const RowPacking& packing = source.packing;
  const int tile_rows = packing.heads * std::min(packing.tokens, source.plan.max_q_len);
  const int most_cuts = std::min(grid.num_workers - 1, num_seqs * grid.groups);
  const int most_rows = most_cuts * source.blocks_per_worker * tile_rows;
  const int num_sms = grid.num_workers * grid.blocks_per_worker;
  const bool few = most_rows <= FewRows::kBlocksPerSm * num_sms;
  const int blocks = few ? most_rows : std::min(ManyRows::kBlocksPerSm * num_sms, most_rows);
  return LaunchOverlapped(few ? CombineKernel<FewRows> : CombineKernel<ManyRows>, dim3(blocks),
                          dim3(kCombineThreads), 0, stream, 90,
                          CombineArgs{args, source, grid.num_workers, tile_rows});
}

}  // namespace pingti::kernels::latent
