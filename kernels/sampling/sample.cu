// The sampling kernel: see sampling.h for what a row goes through.
//
// Mapping: on sm_90 a cluster of eight blocks holds a row, each block an eighth of the vocabulary
//   in shared memory, so that every pass after the first costs one sweep of shared memory and one
//   exchange between blocks. Before sm_90 one block per row works in the workspace (L2).
// Draw: one sweep counts and weighs tokens by distance from the maximum (1024 bins). Whole bins
//   from the top, at most 1024 tokens, go to the first block, which sorts them and adds up their
//   weights. Where top_k, top_p, min_p and the draw all end among them, as they do for most answers
//   of a trained model, that is all. Flatter distributions end further down: select.cuh finds the
//   bin.
// Precision: weights are float; a bin's weight is an integer sum, a prefix's a double in a fixed
//   order: equal inputs give equal tokens. A token at the edge of a kept set may differ from a
//   float64 reference by rounding of its weight (1e-6 of the total).
// Shared memory: 33 KB and 4 bytes per token of the block's part: two blocks per SM for
//   vocabularies of up to 156,000 tokens, one where a row asks for log-probabilities.
// Bytes: 4 per token, read once. At a batch of decode rows bound by the latency of the exchanges.
// Architectures: sm_90a (clusters), sm_80 and newer (one block per row).
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

template <int kCluster>
struct Shared {
  RowShared row;
  SelectShared<kCluster> select;
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

// Copies the slice's logits from device memory.
__device__ void LoadSlice(const Slice& slice, const float* logits) {
  int i = threadIdx.x;
  if (reinterpret_cast<uintptr_t>(logits) % sizeof(float4) == 0) {
    const int vectors = slice.size / 4;
#pragma unroll 4
    for (int v = threadIdx.x; v < vectors; v += kThreads) {
      reinterpret_cast<float4*>(slice.values)[v] = reinterpret_cast<const float4*>(logits)[v];
    }
    i += 4 * vectors;
  }
  for (; i < slice.size; i += kThreads) slice.values[i] = logits[i];
}

// Best token (key) and whether any value is NaN (flags), over the row.
template <int kCluster>
__device__ Stats BestToken(RowBlocks<kCluster>* row, const Slice& slice) {
  float best = -INFINITY;
  int at = -1;
  bool is_bad = false;
  ForEach(slice, [&](int i, float x) {
    is_bad |= isnan(x);
    if (x > best) {  // a thread's indices ascend: the first of equals stays
      best = x;
      at = i;
    }
  });
  Stats s;
  if (is_bad) s.flags = kNotANumber;
  if (at >= 0) s.key = TokenKey(best, slice.first_id + at);
  return row->Reduce(s);
}

// Counts the row's tokens in bins and sorts the best ones, whole bins of them and about `top_k` at
// least (0: as many as fit), in the first block's keys.
struct SortedTop {
  Prefix all;  // of the row
  int size;    // sorted keys; 0: the best bin alone is too large
};
template <int kCluster>
__device__ SortedTop SortTop(RowBlocks<kCluster>* row, const Slice& slice, const Weights& weight,
                             uint32_t top_k, SelectShared<kCluster>* shared) {
  const DistanceBins bins = DistanceBins::WholeRow(weight);
  CountTokens<kCluster>(slice, bins, &shared->row_bins);
  row->Sync();
  const BinSums sums = SumBins(row, bins, &shared->row_bins, shared);
  int end = FirstBin(sums, &shared->found, [](const Prefix& p) { return p.count > kCandidates; });
  if (top_k > 0) {
    end = min(
        end, 1 + FirstBin(sums, &shared->found, [=](const Prefix& p) { return p.count >= top_k; }));
  }
  const int size = static_cast<int>(GatherKeys(row, slice, bins, sums, 0, end, shared));
  if (row->rank() == 0) SortKeys(shared, size, weight);
  return {shared->all, size};
}

// Writes the most likely tokens' logprobs of the raw logits in `slice`, and to p.logprobs what is
// to be added to a logit to have its logprob.
template <int kCluster>
__device__ void RawLogprobs(RowBlocks<kCluster>* row, const Slice& slice, const SampleParams& p,
                            int row_index, int num_top, SelectShared<kCluster>* shared) {
  const Stats best = BestToken(row, slice);
  const float max = LogitOf(best.key);
  if (best.flags != 0 || !isfinite(max)) return;  // no token will be drawn
  const Weights weight{max, 1.0f};
  const SortedTop top = SortTop(row, slice, weight, num_top > 0 ? num_top : 1, shared);
  const float log_sum = logf(static_cast<float>(top.all.mass));
  const auto write = [&](int n, uint64_t key) {
    const int64_t at = static_cast<int64_t>(row_index) * p.max_top_logprobs + n;
    const bool real = key != 0;  // fewer tokens than asked for
    p.top_ids[at] = real ? TokenOf(key) : -1;
    p.top_logprobs[at] = real ? LogitOf(key) - max - log_sum : -INFINITY;
  };
  const int sorted = top.size < num_top && static_cast<uint32_t>(top.size) < top.all.count
                         ? top.size  // the rest is taken one by one
                         : num_top;
  if (row->rank() == 0) {
    for (int n = threadIdx.x; n < sorted; n += kThreads)
      write(n, n < top.size ? shared->keys[n] : 0);
  }
  uint64_t last = ~uint64_t{0};
  if (sorted < num_top && sorted > 0) last = *row->Remote(&shared->keys[sorted - 1], 0);
  for (int n = sorted; n < num_top; ++n) {
    Stats next;
    ForEach(slice, [&](int i, float x) {
      const uint64_t key = TokenKey(x, slice.first_id + i);
      if (x != -INFINITY && key < last && key > next.key) next.key = key;
    });
    last = row->Reduce(next).key;
    if (row->rank() == 0 && threadIdx.x == 0) write(n, last);
  }
  if (row->rank() == 0 && threadIdx.x == 0) p.logprobs[row_index] = -(log_sum + max);
  row->Sync();  // the keys were read
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

// Draws a token id. All threads of the row; the result is everywhere.
template <int kCluster>
__device__ int Draw(RowBlocks<kCluster>* row, const Slice& slice, const SamplingRowParams& r,
                    float max, SelectShared<kCluster>* shared) {
  const Weights weight{max, fminf(1.0f / r.temperature, 1e30f)};
  const Rules rules{r.top_k > 0 ? static_cast<uint32_t>(r.top_k) : 0u, r.top_p, r.min_p,
                    SamplingUniform(r.seed, r.position)};
  const SortedTop top = SortTop(row, slice, weight, rules.top_k, shared);
  Located drawn{{0, 0.0}, -1};
  if (row->rank() == 0) {
    const int index = DrawSorted(shared, top.size, top.all, rules, weight);
    if (index >= 0) drawn.token = TokenOf(shared->keys[index]);
  }
  const int token = Tell(row, drawn, shared).token;
  return token >= 0 ? token : DrawAnywhere(row, slice, top.all, rules, weight, shared);
}

// kLogprobs: some row asks for them; that takes more registers, so that one block fills an SM.
template <int kCluster, bool kLogprobs>
__global__ void __launch_bounds__(kThreads, kCluster > 1 && !kLogprobs ? 2 : 1)
    SampleKernel(const SampleParams p, int slice_size) {
  extern __shared__ __align__(16) uint8_t smem[];
  auto* shared = reinterpret_cast<Shared<kCluster>*>(smem);
  RowBlocks<kCluster> row(&shared->row);
  const int row_index = blockIdx.x / kCluster;
  const SamplingRowParams r = p.rows[row_index];
  const int first_id = row.rank() * slice_size;
  float* values = kCluster > 1 ? reinterpret_cast<float*>(smem + sizeof(*shared))
                               : static_cast<float*>(p.workspace) +
                                     static_cast<int64_t>(row_index) * slice_size;
  const Slice slice{values, first_id, max(0, min(slice_size, p.vocab_size - first_id))};
  const float* logits = p.logits + row_index * p.logits_stride;
  LoadSlice(slice, logits + first_id);
  row.Sync();  // the row is loaded; every block of the cluster has started
  if (kLogprobs && r.num_top_logprobs >= 0) {
    RawLogprobs(&row, slice, p, row_index, min(r.num_top_logprobs, p.max_top_logprobs),
                &shared->select);
  }
  AdjustLogits(slice, p, r);
  const Stats best = BestToken(&row, slice);
  const float max = LogitOf(best.key);
  int token = TokenOf(best.key);
  if (best.key == 0 || best.flags != 0 || !isfinite(max)) {
    token = -1;
  } else if (r.temperature > 0.0f && r.top_k != 1) {
    token = Draw(&row, slice, r, max, &shared->select);
  }
  if (row.rank() == 0 && threadIdx.x == 0) {
    p.token_ids[row_index] = token;
    if (kLogprobs && r.num_top_logprobs >= 0) {
      p.logprobs[row_index] = token >= 0 ? logits[token] + p.logprobs[row_index] : NAN;
    }
  }
  row.Sync();  // no block leaves while another may still read its shared memory
}

// Logits per block of a row: a multiple of what one load brings.
int SliceSize(int vocab_size, int cluster) { return CeilDiv(CeilDiv(vocab_size, cluster), 4) * 4; }

template <int kCluster, bool kLogprobs>
cudaError_t Launch(const SampleParams& p, cudaStream_t stream) {
  const int slice_size = SliceSize(p.vocab_size, kCluster);
  const size_t bytes = sizeof(Shared<kCluster>) + (kCluster > 1 ? slice_size * sizeof(float) : 0);
  PINGTI_CUDA_RETURN(cudaFuncSetAttribute(SampleKernel<kCluster, kLogprobs>,
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
  return cudaLaunchKernelEx(&config, SampleKernel<kCluster, kLogprobs>, p, slice_size);
}

}  // namespace

cudaError_t SampleWorkspaceBytes(int num_rows, int vocab_size, size_t* bytes) {
  if (num_rows < 0 || vocab_size <= 0 || bytes == nullptr) return cudaErrorInvalidValue;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  *bytes = device.compute_capability >= 90
               ? 0
               : static_cast<size_t>(num_rows) * SliceSize(vocab_size, 1) * sizeof(float);
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
  const bool logprobs = p.logprobs != nullptr;
  if (device.compute_capability >= 90) {
    return logprobs ? Launch<kMaxCluster, true>(p, stream) : Launch<kMaxCluster, false>(p, stream);
  }
  if (!p.workspace) return cudaErrorInvalidValue;
  return logprobs ? Launch<1, true>(p, stream) : Launch<1, false>(p, stream);
}

}  // namespace pingti::kernels
