// Writes the plan of a decode step: where each sequence's tiles start in the line of all tiles, and
// the sequence each worker starts in; zeroes the merge counters. One block, a few microseconds,
// once a step for all layers.
//
// Block of 1024 threads: a prefix sum over the sequences' tile counts in chunks of 1024, a choice
// among a few lengths of a worker's stretch (one per thread), then one binary search a worker.
// Bytes: 8 read and 4 written a sequence; bound by latency.
// Architectures: sm_80 and newer.

#include "kernels/attention/decode/launch.h"
#include "kernels/attention/decode/work.cuh"
#include "kernels/common/status.h"
#include "pingti/kernels/decode_attention.h"

namespace pingti::kernels {
namespace {

constexpr int kPlanThreads = 1024;
constexpr int kTilesPerMerge = 6;  // that a worker reads in the time of a merge through memory

struct PlanArgs {
  const int32_t* kv_lens;
  const int32_t* q_starts;
  int32_t* plan;
  int num_seqs;
  int num_kv_heads;
  int max_q_len;
  int window;
  int num_workers;
};

// Inclusive sum over the block; `warp_sums` holds one int a warp. Ends with a block barrier.
__device__ int BlockInclusiveSum(int value, int* warp_sums) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  for (int delta = 1; delta < 32; delta *= 2) {
    const int other = __shfl_up_sync(~0u, value, delta);
    if (lane >= delta) value += other;
  }
  if (lane == 31) warp_sums[warp] = value;
  __syncthreads();  // every warp's sum is in place
  int before = 0;
  for (int w = 0; w < warp; ++w) before += warp_sums[w];
  __syncthreads();  // all have read: the sums may be overwritten
  return value + before;
}

struct PlanShared {
  int warp_sums[kPlanThreads / 32];
  int chunk_total;
  int longest;     // most tiles of a (sequence, head)
  int per_worker;  // tiles of the line
};

// Writes where each sequence's tiles start, per KV head, and shared->longest; returns the end of
// the last one's. A sequence's part is a multiple of `head_unit`. Ends with a block barrier.
__device__ int PlaceSequences(const PlanArgs& args, int head_unit, int32_t* tile_start,
                              PlanShared* shared) {
  if (threadIdx.x == 0) {
    tile_start[0] = 0;
    shared->longest = 1;
  }
  int base = 0;
  for (int chunk = 0; chunk < args.num_seqs; chunk += kPlanThreads) {
    const int seq = chunk + threadIdx.x;
    int count = 0;
    if (seq < args.num_seqs) {
      const int q_len =
          args.q_starts == nullptr ? args.max_q_len : args.q_starts[seq + 1] - args.q_starts[seq];
      count = decode::SequenceTiles(args.kv_lens[seq], q_len, args.window).count;
    }
    const int inclusive = BlockInclusiveSum(decode::RoundUp(count, head_unit), shared->warp_sums);
    if (count > 1) atomicMax(&shared->longest, count);
    if (seq < args.num_seqs) tile_start[seq + 1] = base + inclusive;
    if (threadIdx.x == kPlanThreads - 1) shared->chunk_total = inclusive;
    __syncthreads();  // chunk_total is set, and tile_start (same block: visible in global memory)
    base += shared->chunk_total;
    __syncthreads();  // all have read it
  }
  return base;
}

// The workers' stretch, and what every (sequence, head)'s part of the line is a multiple of.
struct Stretch {
  int per_worker;
  int head_unit;
};

// The shortest stretch gives every worker as many tiles. A merge between workers costs the time of
// some tiles, and so does a second piece, so that a little longer ones may be better: one that
// holds any (sequence, head) whole, or else one with which every piece has a worker of its own.
// `tile_start` as PlaceSequences writes it without gaps; `tiles` is its end.
__device__ Stretch ChooseStretch(const PlanArgs& args, const int32_t* tile_start, int tiles,
                                 PlanShared* shared) {
  const int workers = args.num_workers;
  const int64_t num_heads = static_cast<int64_t>(args.num_seqs) * args.num_kv_heads;
  const int64_t total = static_cast<int64_t>(tiles) * args.num_kv_heads;
  const int even = static_cast<int>((total + workers - 1) / workers);
  const int limit = even + kTilesPerMerge;
  const int longest = shared->longest;
  if (num_heads > workers) {
    // Equal ones stay whole in stretches of several.
    const int whole = decode::RoundUp(even, longest);
    return {longest * num_heads == total && whole <= limit ? whole : even, 1};
  }
  if (longest <= limit) return {longest, longest};
  if (threadIdx.x == 0) shared->per_worker = limit + 1;
  __syncthreads();  // per_worker is set
  const int candidate = even + static_cast<int>(threadIdx.x);
  if (candidate <= limit) {
    int pieces = 0;
    for (int seq = 0; seq < args.num_seqs; ++seq) {
      pieces += (tile_start[seq + 1] - tile_start[seq] + candidate - 1) / candidate;
    }
    if (pieces * args.num_kv_heads <= workers) atomicMin(&shared->per_worker, candidate);
  }
  __syncthreads();  // all have proposed
  const int chosen = shared->per_worker;
  return chosen <= limit ? Stretch{chosen, chosen} : Stretch{even, 1};
}

// The sequence that owns tile `line`.
__device__ int SequenceOf(const int32_t* tile_start, const PlanArgs& args, int line) {
  int low = 0;  // tile_start[low] * heads <= line < tile_start[high] * heads
  int high = args.num_seqs;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (static_cast<int64_t>(tile_start[middle]) * args.num_kv_heads <= line) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

__global__ void __launch_bounds__(kPlanThreads) DecodePlanKernel(const PlanArgs args) {
  __shared__ PlanShared shared;
  const decode::PlanLayout layout{args.num_seqs, args.num_workers};
  int32_t* tile_start = args.plan + layout.TileStart();
  int tiles = PlaceSequences(args, 1, tile_start, &shared);
  for (int64_t i = layout.Counters() + threadIdx.x; i < layout.Size(args.num_kv_heads);
       i += kPlanThreads) {
    args.plan[i] = 0;
  }
  const Stretch stretch = ChooseStretch(args, tile_start, tiles, &shared);
  if (stretch.head_unit > 1) {
    __syncthreads();  // all have read tile_start
    tiles = PlaceSequences(args, stretch.head_unit, tile_start, &shared);
  }
  const int64_t total = static_cast<int64_t>(tiles) * args.num_kv_heads;
  auto* starts = reinterpret_cast<decode::WorkerStart*>(args.plan);
  for (int worker = threadIdx.x; worker < args.num_workers; worker += kPlanThreads) {
    decode::WorkerStart start{};
    start.total_tiles = static_cast<int32_t>(total);
    start.tiles_per_worker = stretch.per_worker;
    start.head_unit = stretch.head_unit;
    const int64_t line = static_cast<int64_t>(worker) * stretch.per_worker;
    if (line < total) {
      const int seq = SequenceOf(tile_start, args, static_cast<int>(line));
      start.seq = seq;
      start.seq_begin = tile_start[seq] * args.num_kv_heads;
      start.kv_len = args.kv_lens[seq];
      start.q_row = args.q_starts == nullptr ? seq * args.max_q_len : args.q_starts[seq];
      start.q_len =
          args.q_starts == nullptr ? args.max_q_len : args.q_starts[seq + 1] - args.q_starts[seq];
    }
    starts[worker] = start;
  }
}

bool ValidShape(const DecodeShape& shape) {
  return shape.num_seqs >= 0 && shape.num_seqs <= kMaxDecodeSequences && shape.num_kv_heads > 0 &&
         shape.num_q_heads > 0 && shape.num_q_heads % shape.num_kv_heads == 0 &&
         shape.max_q_len >= 1 && shape.max_q_len <= kMaxDecodeQueryTokens;
}

}  // namespace

cudaError_t DecodePlanBytes(int num_seqs, int num_kv_heads, size_t* bytes) {
  if (num_seqs < 0 || num_kv_heads <= 0 || bytes == nullptr) return cudaErrorInvalidValue;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  *bytes = static_cast<size_t>(decode::PlanLayout{num_seqs, device.num_sms}.Size(num_kv_heads)) *
           sizeof(int32_t);
  return cudaSuccess;
}

cudaError_t decode::LaunchPlan(const DecodeShape& shape, int num_workers, void* plan,
                               cudaStream_t stream) {
  if (!ValidShape(shape)) return cudaErrorInvalidValue;
  if (shape.num_seqs == 0) return cudaSuccess;
  if (plan == nullptr || shape.kv_lens == nullptr) return cudaErrorInvalidValue;
  const PlanArgs args{shape.kv_lens,  shape.q_starts,     static_cast<int32_t*>(plan),
                      shape.num_seqs, shape.num_kv_heads, shape.max_q_len,
                      shape.window,   num_workers};
  DecodePlanKernel<<<1, kPlanThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

cudaError_t LaunchDecodePlan(const DecodeShape& shape, void* plan, cudaStream_t stream) {
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  return decode::LaunchPlan(shape, device.num_sms, plan, stream);
}

}  // namespace pingti::kernels
