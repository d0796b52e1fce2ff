// The prefill plan: cuts every sequence's query rows into tiles and sorts them by work, longest
// first, so that the persistent kernel's last tiles are short ones. One block; a counting sort over
// the number of KV tiles. About 6 us; run once a step, used by all layers.
//
// Bytes: 32 an item. Equal work keeps no order (atomics), which changes no result.
// Next: plan.h (the layout), sm90_kernel.cuh (the reader).
#include <algorithm>

#include "kernels/attention/prefill/plan.h"
#include "kernels/common/status.h"

namespace pingti::kernels {
namespace prefill {
namespace {

constexpr int kPlanThreads = 1024;
constexpr int kBuckets = 2048;
// Half of an H100's L2: the other half holds q, out and what drifts between tiles.
constexpr int64_t kSectionKvBytes = 24 << 20;

__device__ WorkItem MakeItem(const PlanArgs& args, int seq, int block) {
  const int q_begin = args.q_start[seq];
  const int q_len = args.q_start[seq + 1] - q_begin;
  const int offset = block * args.tile_rows;
  WorkItem item;
  item.seq = seq;
  item.row_begin = q_begin + offset;
  item.num_rows = min(args.tile_rows, q_len - offset);
  item.kv_len = args.kv_len[seq];
  item.position = item.kv_len - q_len + offset;
  int kv_end = item.kv_len;
  int kv_begin = 0;
  if (args.causal) kv_end = min(kv_end, max(item.position + item.num_rows, 0));
  if (args.window > 0) kv_begin = max(item.position - args.window + 1, 0);
  item.tile_begin = kv_begin / kTileKv;
  item.tile_end = max((kv_end + kTileKv - 1) / kTileKv, item.tile_begin);
  item.unused = 0;
  return item;
}

// Exclusive sum over the block; `total` gets the sum. `warp_sums` holds one value a warp.
__device__ int BlockExclusiveSum(int value, int* warp_sums, int* total) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  int sum = value;
  for (int step = 1; step < 32; step *= 2) {
    const int other = __shfl_up_sync(~0u, sum, step);
    if (lane >= step) sum += other;
  }
  __syncthreads();  // earlier readers of warp_sums are done
  if (lane == 31) warp_sums[warp] = sum;
  __syncthreads();  // all warps' sums are there
  int before = 0;
  int all = 0;
  for (int w = 0; w < kPlanThreads / 32; ++w) {
    if (w < warp) before += warp_sums[w];
    all += warp_sums[w];
  }
  *total = all;
  return before + sum - value;
}

// first_item[s] = number of items of the sequences before s, for s in 0 .. num_seqs.
__device__ void CountItems(const PlanArgs& args, int* first_item, int* warp_sums,
                           unsigned long long* total_kv) {
  constexpr int kPerThread = kMaxPrefillSeqs / kPlanThreads;
  const int first_seq = threadIdx.x * kPerThread;
  int count[kPerThread];
  int sum = 0;
  for (int i = 0; i < kPerThread; ++i) {
    const int seq = first_seq + i;
    count[i] = 0;
    if (seq < args.num_seqs) {
      const int q_len = args.q_start[seq + 1] - args.q_start[seq];
      count[i] = q_len > 0 ? (q_len + args.tile_rows - 1) / args.tile_rows : 0;
      if (count[i] > 0) atomicAdd(total_kv, static_cast<unsigned long long>(args.kv_len[seq]));
    }
    sum += count[i];
  }
  int total = 0;
  int running = BlockExclusiveSum(sum, warp_sums, &total);
  for (int i = 0; i < kPerThread; ++i) {
    if (first_seq + i < args.num_seqs) first_item[first_seq + i] = running;
    running += count[i];
  }
  if (threadIdx.x == 0) first_item[args.num_seqs] = min(total, args.max_items);
  __syncthreads();  // first_item and total_kv are complete
}

// The sequence of item `index`: the last s with first_item[s] <= index (so it has items).
__device__ int FindSequence(const int* first_item, int num_seqs, int index) {
  int low = 0;
  int high = num_seqs;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (first_item[middle] <= index) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

__device__ int BucketOf(const WorkItem& item, int shift) {
  return kBuckets - 1 - min((item.tile_end - item.tile_begin) >> shift, kBuckets - 1);
}

__global__ void __launch_bounds__(kPlanThreads, 1) PlanKernel(const PlanArgs args) {
  __shared__ int first_item[kMaxPrefillSeqs + 1];
  __shared__ int bucket[kBuckets];
  __shared__ int warp_sums[kPlanThreads / 32];
  __shared__ unsigned long long total_kv;
  __shared__ int longest;
  if (threadIdx.x == 0) {
    total_kv = 0;
    longest = 0;
  }
  for (int b = threadIdx.x; b < kBuckets; b += kPlanThreads) bucket[b] = 0;
  __syncthreads();  // the counters are zero
  CountItems(args, first_item, warp_sums, &total_kv);
  const int num_items = first_item[args.num_seqs];
  for (int i = threadIdx.x; i < args.num_seqs; i += kPlanThreads) {
    atomicMax(&longest, args.kv_len[i] / kTileKv + 1);
  }
  __syncthreads();  // longest is known
  int shift = 0;
  while ((longest >> shift) >= kBuckets) ++shift;

  for (int i = threadIdx.x; i < num_items; i += kPlanThreads) {
    const int seq = FindSequence(first_item, args.num_seqs, i);
    atomicAdd(&bucket[BucketOf(MakeItem(args, seq, i - first_item[seq]), shift)], 1);
  }
  __syncthreads();  // bucket holds counts
  int total = 0;
  const int even = bucket[2 * threadIdx.x];
  const int odd = bucket[2 * threadIdx.x + 1];
  const int start = BlockExclusiveSum(even + odd, warp_sums, &total);
  bucket[2 * threadIdx.x] = start;
  bucket[2 * threadIdx.x + 1] = start + even;
  __syncthreads();  // bucket holds first slots
  for (int i = threadIdx.x; i < num_items; i += kPlanThreads) {
    const int seq = FindSequence(first_item, args.num_seqs, i);
    const WorkItem item = MakeItem(args, seq, i - first_item[seq]);
    args.items[atomicAdd(&bucket[BucketOf(item, shift)], 1)] = item;
  }
  if (threadIdx.x == 0) {
    const int64_t head_bytes = max(static_cast<int64_t>(total_kv) * args.token_bytes, int64_t{1});
    const int64_t heads = max(kSectionKvBytes / head_bytes, int64_t{1});
    args.header->next_tile = 0;
    args.header->num_finished = 0;
    args.header->num_items = num_items;
    args.header->heads_per_section =
        static_cast<int>(min(heads, static_cast<int64_t>(args.num_kv_heads)));
  }
}
static_assert(kBuckets == 2 * kPlanThreads, "each thread scans two buckets");
static_assert(kMaxPrefillSeqs % kPlanThreads == 0, "each thread counts as many sequences");

// Tiles of the smallest height, so that the workspace fits every device.
int64_t MaxItems(int64_t total_q_tokens, int64_t num_seqs) {
  return total_q_tokens / TileRows(80, 128) + num_seqs;
}

}  // namespace

cudaError_t LaunchPlan(const PrefillAttentionParams& params, int tile_rows, cudaStream_t stream) {
  PlanArgs args;
  args.q_start = params.q_start;
  args.kv_len = params.kv_len;
  args.num_seqs = params.num_seqs;
  args.num_kv_heads = params.kv.num_kv_heads;
  args.token_bytes = 2 * params.kv.head_dim * ElementBytes(params.kv.dtype);
  args.tile_rows = tile_rows;
  args.max_items = static_cast<int>(MaxItems(params.total_q_tokens, params.num_seqs));
  args.causal = params.causal;
  args.window = params.window;
  args.header = static_cast<PlanHeader*>(params.workspace);
  args.items = const_cast<WorkItem*>(Items(params.workspace));
  return LaunchPlan(args, stream);
}

cudaError_t LaunchPlan(const PlanArgs& args, cudaStream_t stream) {
  PlanKernel<<<1, kPlanThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

}  // namespace prefill

size_t PrefillAttentionWorkspaceBytes(int32_t total_q_tokens, int32_t num_seqs) {
  return sizeof(prefill::PlanHeader) +
         prefill::MaxItems(total_q_tokens, num_seqs) * sizeof(prefill::WorkItem);
}

cudaError_t LaunchPrefillPlan(const PrefillAttentionParams& params, cudaStream_t stream) {
  if (params.num_seqs < 0 || params.num_seqs > kMaxPrefillSeqs || params.total_q_tokens < 0) {
    return cudaErrorInvalidValue;
  }
  if (params.num_seqs == 0 || params.total_q_tokens == 0) return cudaSuccess;
  if (params.q_start == nullptr || params.kv_len == nullptr || params.workspace == nullptr ||
      params.workspace_bytes <
          PrefillAttentionWorkspaceBytes(params.total_q_tokens, params.num_seqs)) {
    return cudaErrorInvalidValue;
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const int kernel = prefill::TransformsScores(params) ? 80 : device.compute_capability;
  const int tile_rows = prefill::TileRows(kernel, params.kv.head_dim);
  return prefill::LaunchPlan(params, tile_rows, stream);
}

}  // namespace pingti::kernels
