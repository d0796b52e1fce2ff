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
// Log-probabilities are of the raw logits: the same sort gives them where those are drawn from, one
//   of their own where bias, penalties or a mask change them first.
// Precision: weights are float; a bin's weight is an integer sum, a prefix's a double in a fixed
//   order: equal inputs give equal tokens. A token at the edge of a kept set may differ from a
//   float64 reference by rounding of its weight (1e-6 of the total).
// Shared memory: 33 KB and 4 bytes per token of the block's part: two blocks per SM for
//   vocabularies of up to 156,000 tokens.
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
  SamplingRowParams params;  // of the row: here they take no registers
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

// The best of the tokens that a thread has seen, and whether one is NaN. Ids must ascend: of equals
// the first stays.
struct BestSeen {
  float value = -INFINITY;
  int at = -1;
  bool is_bad = false;

  __device__ void See(int i, float x) {
    is_bad |= isnan(x);
    if (x > value) {
      value = x;
      at = i;
    }
  }
  __device__ Stats ToStats(int first_id) const {
    Stats s;
    if (is_bad) s.flags = kNotANumber;
    if (at >= 0) s.key = TokenKey(value, first_id + at);
    return s;
  }
};

// Copies the slice's logits from device memory.
__device__ BestSeen LoadSlice(const Slice& slice, const float* logits) {
  BestSeen best;
  int i = threadIdx.x;
  if (reinterpret_cast<uintptr_t>(logits) % sizeof(float4) == 0) {
    const int vectors = slice.size / 4;
#pragma unroll 4
    for (int v = threadIdx.x; v < vectors; v += kThreads) {
      const float4 x = reinterpret_cast<const float4*>(logits)[v];
      reinterpret_cast<float4*>(slice.values)[v] = x;
      best.See(4 * v, x.x);
      best.See(4 * v + 1, x.y);
      best.See(4 * v + 2, x.z);
      best.See(4 * v + 3, x.w);
    }
    i += 4 * vectors;
  }
  for (; i < slice.size; i += kThreads) {
    const float x = logits[i];
    slice.values[i] = x;
    best.See(i, x);
  }
  return best;
}

// Key of the row's best token; 0 if there is none to draw: a value is NaN, or none is finite.
template <int kCluster>
__device__ uint64_t BestToken(RowBlocks<kCluster>* row, const BestSeen& seen, int first_id) {
  const Stats best = row->Reduce(seen.ToStats(first_id));
  return best.key != 0 && best.flags == 0 && isfinite(LogitOf(best.key)) ? best.key : 0;
}
template <int kCluster>
__device__ uint64_t BestToken(RowBlocks<kCluster>* row, const Slice& slice) {
  BestSeen seen;
  ForEach(slice, [&](int i, float x) { seen.See(i, x); });
  return BestToken(row, seen, slice.first_id);
}

// Whole bins from the top that one block sorts.
struct TopBins {
  int end = 0;          // one past the last
  uint32_t count = 0;   // tokens in them
  uint32_t before = 0;  // TokensInBlocksBefore of them
};

// About `at_least` tokens at least (0: as many as fit one block).
template <int kCluster>
__device__ TopBins ChooseTop(const BinSums& sums, uint32_t at_least,
                             SelectShared<kCluster>* shared) {
  int end = FirstBin(sums, &shared->found, [](const Prefix& p) { return p.count > kCandidates; });
  if (at_least > 0) {
    end = min(end, 1 + FirstBin(sums, &shared->found,
                                [=](const Prefix& p) { return p.count >= at_least; }));
  }
  if (threadIdx.x == 0) shared->chosen.count = 0;
  __syncthreads();  // the count is set
#pragma unroll
  for (int j = 0; j < kBinsPerThread; ++j) {
    if (kBinsPerThread * static_cast<int>(threadIdx.x) + j == end - 1) {
      shared->chosen.count = sums.through[j].count;
    }
  }
  __syncthreads();  // the owner has told
  const TopBins top{end, shared->chosen.count, TokensInBlocksBefore(sums, 0, end)};
  __syncthreads();  // all have read
  return top;
}

// What a row's best tokens are wanted for: a draw, log-probabilities, or both.
struct TopUse {
  Weights weight;     // of the draw, or where there is none of the log-probabilities
  uint32_t at_least;  // tokens; 0: as many as fit one block
  bool has_logprobs;  // of the same logits
  uint32_t num_top;   // at least 1
};

// Counts the row's tokens in bins and sorts the best ones in the first block's keys; shared->top
// says what they are. Where the draw has a temperature, log-probabilities have bins of their own,
// filled in the same sweep: both kinds of bins are in the order of the draw, so that the longer of
// two prefixes serves both uses.
template <int kCluster>
__device__ void SortTop(RowBlocks<kCluster>* row, const Slice& slice, const TopUse& use,
                        SelectShared<kCluster>* shared) {
  const Weights plain{use.weight.max, 1.0f};
  const bool has_two = use.has_logprobs && use.weight.inverse_temperature != 1.0f;
  const DistanceBins bins = DistanceBins::WholeRow(use.weight);
  EmptyBins(&shared->row_bins);
  if (has_two) EmptyBins(&shared->part_bins);
  __syncthreads();  // bins are empty
  ForEach(slice, [&](int, float x) {
    CountToken(x, bins, &shared->row_bins);
    if (has_two) CountToken(x, DistanceBins::WholeRow(plain), &shared->part_bins);
  });
  row->Sync();
  TopBins longer;
  if (has_two) {
    const BinSums sums = SumBins(row, DistanceBins::WholeRow(plain), &shared->part_bins, shared);
    longer = ChooseTop(sums, use.num_top, shared);
    if (threadIdx.x == 0) shared->top.total_mass = shared->all.mass;
  }
  const BinSums sums = SumBins(row, bins, &shared->row_bins, shared);
  if (use.has_logprobs && !has_two) {
    longer = ChooseTop(sums, use.num_top, shared);
    if (threadIdx.x == 0) shared->top.total_mass = shared->all.mass;
  }
  const TopBins drawn = ChooseTop(sums, use.at_least, shared);
  const bool is_plain = longer.count > drawn.count;
  if (!is_plain) longer = drawn;
  if (threadIdx.x == 0) {
    shared->top.all = shared->all;
    shared->top.size = drawn.count;
    shared->top.num_keys = longer.count;
  }
  GatherKeys(row, slice, DistanceBins::WholeRow(is_plain && has_two ? plain : use.weight),
             longer.before, 0, longer.end, shared);
  if (row->rank() == 0) SortKeys(shared, static_cast<int>(shared->top.num_keys), use.weight);
}

// Writes the most likely tokens' logprobs of the raw logits in `slice`, and to p.logprobs what is
// to be added to a logit to have its logprob.
template <int kCluster>
__device__ void WriteLogprobs(RowBlocks<kCluster>* row, const Slice& slice, const SampleParams& p,
                              int row_index, int num_top, float max,
                              SelectShared<kCluster>* shared) {
  const SortedTop& top = shared->top;
  const float log_sum = logf(static_cast<float>(top.total_mass));
  const auto write = [&](int n, uint64_t key) {
    const int64_t at = static_cast<int64_t>(row_index) * p.max_top_logprobs + n;
    const bool real = key != 0;  // fewer tokens than asked for
    p.top_ids[at] = real ? TokenOf(key) : -1;
    p.top_logprobs[at] = real ? LogitOf(key) - max - log_sum : -INFINITY;
  };
  const int num_keys = static_cast<int>(top.num_keys);
  const int sorted = num_keys < num_top && top.num_keys < top.all.count
                         ? num_keys  // the rest is taken one by one
                         : num_top;
  if (row->rank() == 0) {
    for (int n = threadIdx.x; n < sorted; n += kThreads)
      write(n, n < num_keys ? shared->keys[n] : 0);
    if (threadIdx.x == 0) p.logprobs[row_index] = -(log_sum + max);
  }
  if (sorted == num_top) return;
  row->Sync();  // the first block has sorted
  uint64_t last = sorted > 0 ? *row->Remote(&shared->keys[sorted - 1], 0) : ~uint64_t{0};
  for (int n = sorted; n < num_top; ++n) {
    Stats next;
    ForEach(slice, [&](int i, float x) {
      const uint64_t key = TokenKey(x, slice.first_id + i);
      if (x != -INFINITY && key < last && key > next.key) next.key = key;
    });
    last = row->Reduce(next).key;
    if (row->rank() == 0 && threadIdx.x == 0) write(n, last);
  }
}

__device__ bool Draws(const SamplingRowParams& r) { return r.temperature > 0.0f && r.top_k != 1; }
__device__ bool HasAdjustments(const SamplingRowParams& r) {
  return r.biases_begin < r.biases_end || r.counts_begin < r.counts_end || r.mask_row >= 0;
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

// Draws a token id from the sorted tokens, or where the draw ends further down. All threads of the
// row; the result is everywhere.
template <int kCluster>
__device__ int Draw(RowBlocks<kCluster>* row, const Slice& slice, const SamplingRowParams& r,
                    const Weights& weight, SelectShared<kCluster>* shared) {
  if (threadIdx.x == 0) {
    shared->rules = {r.top_k > 0 ? static_cast<uint32_t>(r.top_k) : 0u, r.top_p, r.min_p,
                     SamplingUniform(r.seed, r.position)};
  }
  __syncthreads();  // the rules are set
  Located drawn{{0, 0.0}, -1};
  if (row->rank() == 0) {
    const int index = DrawSorted(shared, static_cast<int>(shared->top.size), shared->top.all,
                                 shared->rules, weight);
    if (index >= 0) drawn.token = TokenOf(shared->keys[index]);
  }
  const int token = Tell(row, drawn, shared).token;
  return token >= 0 ? token : DrawAnywhere(row, slice, weight, shared);
}

// From the row's loaded logits and its best token to a token id, or -1.
template <int kCluster, bool kLogprobs>
__device__ int SampleRow(RowBlocks<kCluster>* row, const Slice& slice, const SampleParams& p,
                         const SamplingRowParams& r, int row_index, uint64_t best,
                         SelectShared<kCluster>* shared) {
  const bool has_logprobs = kLogprobs && r.num_top_logprobs >= 0;
  const int num_top = min(r.num_top_logprobs, p.max_top_logprobs);
  const auto at_least = static_cast<uint32_t>(max(num_top, 1));
  // Where the draw is from other logits or there is none, the raw ones are sorted apart.
  const bool sorts_raw = has_logprobs && (HasAdjustments(r) || !Draws(r));
  if (kLogprobs && sorts_raw && best != 0) {
    const Weights weight{LogitOf(best), 1.0f};
    SortTop(row, slice, TopUse{weight, at_least, true, at_least}, shared);
    WriteLogprobs(row, slice, p, row_index, num_top, weight.max, shared);
  }
  if (HasAdjustments(r)) {
    AdjustLogits(slice, p, r);
    best = BestToken(row, slice);
  }
  if (best == 0) return -1;
  if (!Draws(r)) return TokenOf(best);
  const Weights weight{LogitOf(best), fminf(1.0f / r.temperature, 1e30f)};
  const TopUse use{weight, static_cast<uint32_t>(max(r.top_k, 0)), has_logprobs && !sorts_raw,
                   at_least};
  SortTop(row, slice, use, shared);
  if (kLogprobs && use.has_logprobs) {
    WriteLogprobs(row, slice, p, row_index, num_top, weight.max, shared);
  }
  return Draw(row, slice, r, weight, shared);
}

// kLogprobs: some row asks for them.
template <int kCluster, bool kLogprobs>
__global__ void __launch_bounds__(kThreads, kCluster > 1 ? 2 : 1)
    SampleKernel(const SampleParams p, int slice_size) {
  extern __shared__ __align__(16) uint8_t smem[];
  auto* shared = reinterpret_cast<Shared<kCluster>*>(smem);
  RowBlocks<kCluster> row(&shared->row);
  const int row_index = blockIdx.x / kCluster;
  if (threadIdx.x == 0) shared->params = p.rows[row_index];
  const int first_id = row.rank() * slice_size;
  float* values = kCluster > 1 ? reinterpret_cast<float*>(smem + sizeof(*shared))
                               : static_cast<float*>(p.workspace) +
                                     static_cast<int64_t>(row_index) * slice_size;
  const Slice slice{values, first_id, max(0, min(slice_size, p.vocab_size - first_id))};
  const float* logits = p.logits + row_index * p.logits_stride;
  const BestSeen seen = LoadSlice(slice, logits + first_id);
  row.Sync();  // the row is loaded; every block of the cluster has started
  const int token = SampleRow<kCluster, kLogprobs>(
      &row, slice, p, shared->params, row_index, BestToken(&row, seen, first_id), &shared->select);
  if (row.rank() == 0 && threadIdx.x == 0) {
    p.token_ids[row_index] = token;
    if (kLogprobs && shared->params.num_top_logprobs >= 0) {
      const float logit = token >= 0 ? p.logits[row_index * p.logits_stride + token] : NAN;
      p.logprobs[row_index] += logit;
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
