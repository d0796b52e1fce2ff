// The sampling kernel: see sampling.h for what a row goes through.
//
// Mapping: on sm_90 a cluster of eight blocks holds a row, each block an eighth of the vocabulary
// in
//   shared memory, so every pass after the first costs one sweep of shared memory and one exchange
//   between blocks; before sm_90 one block a row works in the workspace (L2).
// Draw: one sweep counts tokens by distance from the maximum (1024 bins); whole bins from the top,
// at
//   most 2048 tokens, go to the first block, which sorts them and accumulates their weights. Where
//   top_k, top_p, min_p and the draw all end among them - nearly always - that is all. Flat
//   distributions end further down: then thresholds are found by bisection over the row
//   (select.cuh).
// Precision: weights are float, their sums double and in a fixed order: equal inputs give equal
// tokens.
//   A token at the edge of a kept set may differ from a float64 reference by rounding of its
//   weight.
// Shared memory: 42 KB and 4 bytes a token of the block's part. One block an SM.
// Bytes: 4 a token, read once. At a batch of decode rows bound by the latency of the exchanges.
// Architectures: sm_90a (clusters), sm_80 and newer (one block a row).
// Sources: Salmon et al. (SC 2011) for the generator; Holtzman et al., "The Curious Case of Neural
//   Text Degeneration" (2019) for top-p.

#include <algorithm>

#include "kernels/common/status.h"
#include "kernels/sampling/select.cuh"
#include "pingti/kernels/sampling.h"

namespace pingti::kernels {
namespace {

using namespace sampling;

constexpr int kMaxVocab = 360448;
constexpr uint32_t kNotANumber = 1;
constexpr uint32_t kUnresolved = 2;

struct Shared {
  RowShared row;
  CandidateShared candidates;
};

// See sampling.h.
__device__ float SamplingUniform(uint64_t seed, uint64_t position) {
  uint32_t key0 = static_cast<uint32_t>(seed);
  uint32_t key1 = static_cast<uint32_t>(seed >> 32);
  uint32_t c[4] = {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), 0, 0};
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, c[0]);
    const uint32_t low0 = 0xD2511F53u * c[0];
    const uint32_t high1 = __umulhi(0xCD9E8D57u, c[2]);
    const uint32_t low1 = 0xCD9E8D57u * c[2];
    c[0] = high1 ^ c[1] ^ key0;
    c[1] = low1;
    c[2] = high0 ^ c[3] ^ key1;
    c[3] = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return static_cast<float>(c[0] >> 8) * 0x1p-24f;
}

// Best token (key) and whether any value is NaN (flags), over the row.
template <int kCluster>
__device__ Stats BestToken(RowBlocks<kCluster>* row, const Slice& slice) {
  Stats s;
  ForEach(slice, [&](int i, float x) {
    if (isnan(x)) {
      s.flags |= kNotANumber;
      return;
    }
    const uint64_t key = TokenKey(x, slice.first_id + i);
    if (key > s.key) s.key = key;
  });
  return row->Reduce(s);
}

// Writes the most likely tokens' logprobs of the raw logits in `slice`; returns log of their
// weights' sum plus their maximum, so that logprob(x) = x - result.
template <int kCluster>
__device__ float RawLogprobs(RowBlocks<kCluster>* row, const Slice& slice, const SampleParams& p,
                             int row_index, int num_top) {
  const Stats best = BestToken(row, slice);
  const float max = LogitOf(best.key);
  if (best.flags != 0 || !isfinite(max)) return NAN;
  Stats s;
  ForEach(slice, [&](int, float x) { s.sum += expf(x - max); });
  const double log_sum = log(row->Reduce(s).sum);
  uint64_t last = best.key;
  for (int n = 0; n < num_top; ++n) {
    if (n > 0) {
      Stats next;
      ForEach(slice, [&](int i, float x) {
        const uint64_t key = TokenKey(x, slice.first_id + i);
        if (key < last && key > next.key) next.key = key;
      });
      last = row->Reduce(next).key;
    }
    if (row->rank() == 0 && threadIdx.x == 0) {
      const int64_t at = static_cast<int64_t>(row_index) * p.max_top_logprobs + n;
      const bool real = last != 0;  // fewer tokens than asked for
      p.top_ids[at] = real ? TokenOf(last) : -1;
      p.top_logprobs[at] =
          real ? static_cast<float>(static_cast<double>(LogitOf(last) - max) - log_sum) : -INFINITY;
    }
  }
  return static_cast<float>(log_sum + max);
}

// Bias, penalties and mask, in place. Ends with a block barrier.
__device__ void AdjustLogits(const Slice& slice, const SampleParams& p,
                             const SamplingRowParams& r) {
  __syncthreads();  // raw values are no longer read by others
  for (int i = r.biases_begin + threadIdx.x; i < r.biases_end; i += kThreads) {
    const SamplingTokenBias bias = p.token_biases[i];
    const int at = bias.token_id - slice.first_id;
    if (at >= 0 && at < slice.size) slice.values[at] += bias.bias;
  }
  __syncthreads();  // biases come before penalties
  for (int i = r.counts_begin + threadIdx.x; i < r.counts_end; i += kThreads) {
    const SamplingTokenCount count = p.token_counts[i];
    const int at = count.token_id - slice.first_id;
    if (at < 0 || at >= slice.size) continue;
    float x = slice.values[at];
    if (r.repetition_penalty != 1.0f && count.prompt_count + count.output_count > 0) {
      x = x > 0.0f ? x / r.repetition_penalty : x * r.repetition_penalty;
    }
    if (count.output_count > 0) {
      x -= r.presence_penalty;
      x -= r.frequency_penalty * static_cast<float>(count.output_count);
    }
    slice.values[at] = x;
  }
  __syncthreads();  // penalties come before the mask
  if (r.mask_row >= 0) {
    const uint32_t* mask = p.allowed_masks + r.mask_row * p.allowed_mask_stride;
    for (int i = threadIdx.x; i < slice.size; i += kThreads) {
      const int id = slice.first_id + i;
      if ((mask[id / 32] >> (id % 32) & 1u) == 0) slice.values[i] = -INFINITY;
    }
  }
  __syncthreads();  // adjusted
}

// Inclusive sum over the block. Ends with a block barrier.
__device__ uint32_t BlockScan(uint32_t value, uint32_t* warp_counts) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
#pragma unroll
  for (int delta = 1; delta < 32; delta *= 2) {
    const uint32_t other = __shfl_up_sync(~0u, value, delta);
    if (lane >= delta) value += other;
  }
  if (lane == 31) warp_counts[warp] = value;
  __syncthreads();  // warp sums are in place
  for (int w = 0; w < warp; ++w) value += warp_counts[w];
  __syncthreads();  // all have read
  return value;
}

// Collects the best tokens (with top_k > 0 about that many), whole bins of them, in the first
// block's candidates. Returns how many. `bins` of all blocks are complete. Ends with a row barrier.
template <int kCluster>
__device__ uint32_t GatherCandidates(RowBlocks<kCluster>* row, const Slice& slice,
                                     const Weights& weight, uint32_t top_k,
                                     CandidateShared* shared) {
  static_assert(kBins == kThreads, "a thread sums one bin");
  uint32_t before = 0;
  uint32_t total = 0;
  for (int rank = 0; rank < kCluster; ++rank) {
    const uint32_t count = *row->Remote(&shared->bins[threadIdx.x], rank);
    if (rank < row->rank()) before += count;
    total += count;
  }
  const uint32_t cumulative = BlockScan(total, shared->warp_counts);
  int bins = __syncthreads_count(cumulative <= kCandidates);
  // top_k needs no more than the bins that hold the first top_k tokens: fewer to sort.
  const int bins_below_k = __syncthreads_count(cumulative < top_k);
  if (top_k > 0) bins = min(bins, bins_below_k + 1);
  const uint32_t before_scan = BlockScan(threadIdx.x < bins ? before : 0, shared->warp_counts);
  // The last thread knows both sums; `found` and `taken` carry them to the others.
  if (threadIdx.x == kThreads - 1) shared->taken = before_scan;
  if (static_cast<int>(threadIdx.x) == bins - 1) shared->found = static_cast<int>(cumulative);
  if (bins == 0 && threadIdx.x == 0) shared->found = 0;
  __syncthreads();  // both are set
  const uint32_t num_candidates = shared->found;
  uint64_t* keys = row->Remote(shared->keys, 0);
  ForEach(slice, [&](int i, float x) {
    if (x == -INFINITY) return;
    const float distance = weight.Distance(x) * kBinsPerUnit;
    const int bin = distance < kBins - 1 ? static_cast<int>(distance) : kBins - 1;
    if (bin < bins) keys[atomicAdd(&shared->taken, 1u)] = TokenKey(x, slice.first_id + i);
  });
  row->Sync();
  return num_candidates;
}

// Draws a token id. All threads of the row; the result is everywhere.
template <int kCluster>
__device__ int Draw(RowBlocks<kCluster>* row, const Slice& slice, const SamplingRowParams& r,
                    float max, CandidateShared* shared) {
  const Weights weight{max, fminf(1.0f / r.temperature, 1e30f)};
  const Rules rules{r.top_k > 0 ? static_cast<uint32_t>(r.top_k) : 0u, r.top_p, r.min_p,
                    SamplingUniform(r.seed, r.position)};
  shared->bins[threadIdx.x] = 0;
  __syncthreads();  // bins are empty
  Stats s;
  ForEach(slice, [&](int, float x) {
    if (x == -INFINITY) return;
    const float distance = weight.Distance(x) * kBinsPerUnit;
    atomicAdd(&shared->bins[distance < kBins - 1 ? static_cast<int>(distance) : kBins - 1], 1u);
    s.sum += weight(x);
    ++s.count;
  });
  s = row->Reduce(s);  // and every block's bins are complete
  const Prefix all{s.count, s.sum};
  const uint32_t num_sorted = GatherCandidates(row, slice, weight, rules.top_k, shared);
  Stats drawn;
  if (row->rank() == 0) {
    int size = 2;
    while (size < static_cast<int>(num_sorted)) size *= 2;
    for (int i = num_sorted + threadIdx.x; i < kCandidates; i += kThreads) shared->keys[i] = 0;
    SortDescending(shared->keys, size);
    AccumulateWeights(shared, static_cast<int>(num_sorted), weight);
    const int index = DrawSorted(shared, num_sorted, all, rules, weight);
    if (index >= 0) {
      drawn.key = static_cast<uint64_t>(TokenOf(shared->keys[index])) + 1;
    } else {
      drawn.flags = kUnresolved;
    }
  }
  drawn = row->Reduce(drawn);
  if (drawn.flags == 0) return static_cast<int>(drawn.key) - 1;
  return DrawBisecting(row, slice, all, rules, weight);
}

template <int kCluster>
__global__ void __launch_bounds__(kThreads, 1) SampleKernel(const SampleParams p, int slice_size) {
  extern __shared__ __align__(16) uint8_t smem[];
  Shared* shared = reinterpret_cast<Shared*>(smem);
  RowBlocks<kCluster> row(&shared->row);
  const int row_index = blockIdx.x / kCluster;
  const SamplingRowParams r = p.rows[row_index];
  const int first_id = row.rank() * slice_size;
  float* values = kCluster > 1 ? reinterpret_cast<float*>(smem + sizeof(Shared))
                               : static_cast<float*>(p.workspace) +
                                     static_cast<int64_t>(row_index) * p.vocab_size;
  const Slice slice{values, first_id, max(0, min(slice_size, p.vocab_size - first_id))};
  const float* logits = p.logits + row_index * p.logits_stride;
  for (int i = threadIdx.x; i < slice.size; i += kThreads) values[i] = logits[first_id + i];
  row.Sync();  // the row is loaded; every block of the cluster has started
  float log_total = 0.0f;
  if (r.num_top_logprobs >= 0) {
    log_total = RawLogprobs(&row, slice, p, row_index, min(r.num_top_logprobs, p.max_top_logprobs));
  }
  AdjustLogits(slice, p, r);
  const Stats best = BestToken(&row, slice);
  const float max = LogitOf(best.key);
  int token = TokenOf(best.key);
  if (best.key == 0 || best.flags != 0 || !isfinite(max)) {
    token = -1;
  } else if (r.temperature > 0.0f && r.top_k != 1) {
    token = Draw(&row, slice, r, max, &shared->candidates);
  }
  if (row.rank() == 0 && threadIdx.x == 0) {
    p.token_ids[row_index] = token;
    if (r.num_top_logprobs >= 0) {
      p.logprobs[row_index] = token >= 0 ? logits[token] - log_total : NAN;
    }
  }
  row.Sync();  // no block leaves while another may still read its shared memory
}

template <int kCluster>
cudaError_t Launch(const SampleParams& p, cudaStream_t stream) {
  const int slice_size = CeilDiv(p.vocab_size, kCluster);
  const size_t bytes = sizeof(Shared) + (kCluster > 1 ? slice_size * sizeof(float) : 0);
  PINGTI_CUDA_RETURN(cudaFuncSetAttribute(SampleKernel<kCluster>,
                                          cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          static_cast<int>(bytes)));
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {kCluster, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(p.num_rows * kCluster);
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = kCluster > 1 ? 1 : 0;
  return cudaLaunchKernelEx(&config, SampleKernel<kCluster>, p, slice_size);
}

}  // namespace

cudaError_t SampleWorkspaceBytes(int num_rows, int vocab_size, size_t* bytes) {
  if (num_rows < 0 || vocab_size <= 0 || bytes == nullptr) return cudaErrorInvalidValue;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  *bytes = device.compute_capability >= 90
               ? 0
               : static_cast<size_t>(num_rows) * vocab_size * sizeof(float);
  return cudaSuccess;
}

cudaError_t LaunchSample(const SampleParams& p, cudaStream_t stream) {
  if (p.num_rows < 0 || p.vocab_size <= 0 || p.vocab_size > kMaxVocab || p.max_top_logprobs < 0 ||
      p.max_top_logprobs > kMaxTopLogprobs) {
    return cudaErrorInvalidValue;
  }
  if (p.num_rows == 0) return cudaSuccess;
  if (!p.logits || !p.rows || !p.token_ids ||
      (p.max_top_logprobs > 0 && (!p.top_ids || !p.top_logprobs || !p.logprobs))) {
    return cudaErrorInvalidValue;
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  if (device.compute_capability < 80) return cudaErrorNotSupported;
  if (device.compute_capability >= 90) return Launch<kMaxCluster>(p, stream);
  return p.workspace ? Launch<1>(p, stream) : cudaErrorInvalidValue;
}

}  // namespace pingti::kernels
