// The sampling kernel: see sampling.h for what a row goes through.
//
// Mapping: on sm_90 a cluster of eight blocks holds a row, each block an eighth of the vocabulary
//   in shared memory, so that every pass after the first costs one sweep of shared memory and one
//   exchange between blocks. Before sm_90 one block per row works in the workspace (L2).
// Draw: the token whose logit over temperature plus its own noise is the highest. A row without
//   limits is drawn while it is loaded: one pass. top_k brings its tokens to the first block
//   (rank.cuh), which cuts them by top_p and min_p and draws. top_p alone draws as if it were off,
//   then adds up the weight before the drawn token, which says whether top_p keeps that; if not,
//   all that it keeps lies before the token, and the draw is repeated there with the same noise. So
//   the outcome is the highest of the kept tokens, whatever was tried before it, and about 1 /
//   top_p tries are expected. A top_k of more tokens than the first block takes, or of a crowd of
//   equals, finds the key of its last token and draws from that on in the same way.
// Precision: weights are float, sums of them double in a fixed order: equal inputs give equal
//   tokens. A token at the edge of top_p may differ from a float64 reference by rounding (1e-6 of
//   the total), a draw where two tokens' noisy logits are within 1e-5.
// Shared memory: 13 KB and 4 bytes per token of the block's part: two blocks per SM for
//   vocabularies of up to 195,000 tokens.
// Ranked tokens: the log-sum of the raw row is subtracted before it is adjusted, and the best of
//   the adjusted row are sorted as for top_k.
// Bytes: 4 per token, read once. At a batch of decode rows bound by the latency of the exchanges.
// Architectures: sm_90a (clusters), sm_80 and newer (one block per row).
// Sources: Salmon et al. (SC 2011) for the generator; Gumbel, "Statistical Theory of Extreme
//   Values" (1954), for the noise; Holtzman et al., "The Curious Case of Neural Text Degeneration"
//   (2019) for top-p; rejection instead of a sort as in FlashInfer (Ye et al., 2025), here with
//   noise that stays, so that no try changes the outcome.

#include <algorithm>

#include "kernels/common/status.h"
#include "kernels/sampling/rank.cuh"
#include "kernels/sampling/row_passes.cuh"
#include "pingti/kernels/sampling.h"

namespace pingti::kernels {
namespace {

using namespace sampling;

struct DrawShared {
  double sums[kWarps];
  uint64_t keys[kWarps];
  double total;
};

struct Shared {
  RowShared row;
  RankShared rank;
  DrawShared draw;
  SamplingRowParams params;  // of the row: here they take no registers
};

// Whether the first draw is from all tokens as they are.
__device__ bool DrawsWhileLoading(const SamplingRowParams& r) {
  return Draws(r) && !HasAdjustments(r) && r.top_k <= 0 && r.min_p <= 0.0f;
}

// Key of the row's best token; 0 if there is none to draw.
__device__ uint64_t BestToken(const Loaded& seen) {
  return !seen.has_nan && seen.best != 0 && isfinite(LogitOf(seen.best)) ? seen.best : 0;
}

// Writes to p.logprobs what is to be added to a raw logit in `slice` to have its logprob; returns
// it.
template <int kCluster>
__device__ float WriteLogSum(RowBlocks<kCluster>* row, const Slice& slice, const SampleParams& p,
                             int row_index, float max) {
  const Weights plain{max, 1.0f};
  const double total = row->Reduce(MassesOver(slice, plain, 0, ~uint64_t{0})).total;
  const float shift = -(logf(static_cast<float>(total)) + max);
  if (row->rank() == 0 && threadIdx.x == 0) p.logprobs[row_index] = shift;
  return shift;
}

// Writes the first of `count` sorted tokens; the first block does.
__device__ void WriteTop(const SampleParams& p, int row_index, int num_top, const uint64_t* sorted,
                         uint32_t count, float shift) {
  const int n = threadIdx.x;
  if (n >= num_top) return;
  const int64_t at = static_cast<int64_t>(row_index) * p.max_top_logprobs + n;
  const bool is_real = n < static_cast<int>(count);  // else there are fewer tokens than asked for
  p.top_ids[at] = is_real ? TokenOf(sorted[n]) : -1;
  p.top_logprobs[at] = is_real ? LogitOf(sorted[n]) + shift : -INFINITY;
}

// WriteTop for ranked tokens, whose values are adjusted log-probabilities; `shift` is to be added
// to a raw logit to have its logprob.
__device__ void WriteRanked(const SampleParams& p, int row_index, int num_ranked,
                            const uint64_t* sorted, uint32_t count, float shift) {
  const int n = threadIdx.x;
  if (n >= num_ranked) return;
  const int64_t at = static_cast<int64_t>(row_index) * p.max_ranked + n;
  const bool is_real = n < static_cast<int>(count);
  const int id = is_real ? TokenOf(sorted[n]) : -1;
  p.ranked_ids[at] = id;
  p.adjusted_logprobs[at] = is_real ? LogitOf(sorted[n]) : -INFINITY;
  p.ranked_logprobs[at] = is_real ? p.logits[row_index * p.logits_stride + id] + shift : -INFINITY;
}

// Turns logits into log-probabilities, in place. Begins with a block barrier, and needs one behind.
__device__ void AddToLogits(const Slice& slice, float shift) {
  __syncthreads();  // raw values are no longer read by others
  for (int i = threadIdx.x; i < slice.size; i += kThreads) slice.values[i] += shift;
}

// Draws from the first block's `count` sorted tokens, which hold all that top_k keeps. That block
// calls it; returns the token id.
__device__ int DrawSorted(const SamplingRowParams& r, const uint64_t* sorted, uint32_t count,
                          DrawShared* shared) {
  const Weights weight{LogitOf(sorted[0]), InverseTemperature(r)};
  const bool is_kept = threadIdx.x < min(count, static_cast<uint32_t>(r.top_k));
  const uint64_t key = is_kept ? sorted[threadIdx.x] : 0;
  const float own = is_kept ? weight(LogitOf(key)) : 0.0f;
  const double through = BlockScan(static_cast<double>(own), shared->sums);
  if (threadIdx.x == kThreads - 1) shared->total = through;
  __syncthreads();  // the total is told
  const bool is_before_end = r.top_p >= 1.0f || threadIdx.x == 0 ||
                             through - own < static_cast<double>(r.top_p) * shared->total;
  Highest drawn;
  if (is_kept && is_before_end && own >= fminf(r.min_p, 1.0f)) {
    const int id = TokenOf(key);
    const float noise = TokenNoise(r.seed, r.position, id);
    drawn.key = TokenKey(Score(LogitOf(key), weight.inverse_temperature, noise), id);
  }
  drawn = WarpJoin(drawn);
  if (threadIdx.x % 32 == 0) shared->keys[threadIdx.x / 32] = drawn.key;
  __syncthreads();  // every warp's key is in place
  for (int w = 0; w < kWarps; ++w) drawn.Join({shared->keys[w]});
  return TokenOf(drawn.key);
}

// A token's key by its logit, to all threads.
template <int kCluster>
__device__ uint64_t LogitKey(RowBlocks<kCluster>* row, const Slice& slice, int slice_size, int id) {
  const int rank = id / slice_size;
  return TokenKey(*row->Remote(&slice.values[id - rank * slice_size], rank), id);
}

// Draws a token id. `drawn` is the key of the best of all tokens with noise, if there are no other
// limits than top_p, else 0; `best` that of the best logit. All threads of the row; the result is
// everywhere.
template <int kCluster>
__device__ int Draw(RowBlocks<kCluster>* row, const Slice& slice, int slice_size,
                    const SamplingRowParams& r, uint64_t best, uint64_t drawn,
                    RowRanks<kCluster>* ranks) {
  Kept kept{0, fminf(r.min_p, 1.0f), {LogitOf(best), InverseTemperature(r)}};
  if (r.top_k > 0) {
    kept.least = ranks->KeyOfRank(kept.weight.max, static_cast<uint32_t>(r.top_k));
  }
  double target = -1.0;  // weight before which top_p keeps tokens
#pragma unroll 1
  for (;;) {
    if (drawn == 0) drawn = row->Reduce(DrawAmong(slice, r, kept)).key;
    const int token = TokenOf(drawn);
    if (r.top_p >= 1.0f) return token;
    const uint64_t key = LogitKey(row, slice, slice_size, token);
    const Masses masses = row->Reduce(MassesOver(slice, kept.weight, kept.least, key));
    if (target < 0.0) target = static_cast<double>(r.top_p) * masses.total;
    if (key == best || masses.before < target) return token;
    kept.least = key + 1;
    drawn = 0;
  }
}

// From the row's loaded logits to a token id, or -1. The result is the first block's.
template <int kCluster, bool kLogprobs>
__device__ int SampleRow(RowBlocks<kCluster>* row, const Slice& slice, int slice_size,
                         const SampleParams& p, const SamplingRowParams& r, int row_index,
                         const Loaded& loaded, Shared* shared) {
  RowRanks<kCluster> ranks(row, slice, &shared->rank);
  uint64_t best = BestToken(loaded);
  const bool adjusts = HasAdjustments(r);
  // 0: the draw is not from sorted tokens.
  const uint32_t top_k = Draws(r) && r.top_k > 0 && r.top_k <= kCandidates ? r.top_k : 0;
  uint32_t num_sorted = 0;  // tokens in shared->rank.sorted; 0: too many, or none wanted
  const bool is_ranked = kLogprobs && r.num_ranked > 0;
  float shift = 0.0f;  // from a raw logit to its logprob
  if (kLogprobs && r.num_top_logprobs >= 0 && best != 0) {
    const float max = LogitOf(best);
    shift = WriteLogSum(row, slice, p, row_index, max);
    const int num_top = min(r.num_top_logprobs, p.max_top_logprobs);
    if (num_top > 0) {
      const auto wanted = static_cast<uint32_t>(num_top);
      // The same tokens serve the draw where that is from the same logits.
      num_sorted = ranks.SortTop(max, adjusts ? wanted : umax(wanted, top_k));
      const uint32_t count = SortBest(&ranks, max, wanted, num_sorted);
      if (row->rank() == 0) WriteTop(p, row_index, num_top, shared->rank.sorted, count, shift);
    }
    if (is_ranked) AddToLogits(slice, shift);
  }
  if (adjusts || is_ranked) {
    AdjustLogits(slice, p, r);
    best = BestToken(row->Reduce(BestOfSlice(slice)));
    num_sorted = 0;
  }
  if (best == 0) return -1;
  if (is_ranked) {
    const auto wanted = static_cast<uint32_t>(min(r.num_ranked, p.max_ranked));
    const float max = LogitOf(best);
    const uint32_t count = SortBest(&ranks, max, wanted, ranks.SortTop(max, wanted));
    if (row->rank() == 0) {
      WriteRanked(p, row_index, static_cast<int>(wanted), shared->rank.sorted, count, shift);
    }
    return TokenOf(best);
  }
  if (!Draws(r)) return TokenOf(best);
  if (top_k > 0 && num_sorted == 0) {
    num_sorted = ranks.SortTop(LogitOf(best), top_k);
  }
  if (top_k == 0 || num_sorted == 0) {
    return Draw(row, slice, slice_size, r, best, loaded.drawn, &ranks);
  }
  return row->rank() == 0 ? DrawSorted(r, shared->rank.sorted, num_sorted, &shared->draw) : -1;
}

// kLogprobs: some row asks for them.
template <int kCluster, bool kLogprobs>
__global__ void __launch_bounds__(kThreads, kCluster > 1 ? 2 : 1)
    SampleKernel(const SampleParams p, int slice_size) {
  extern __shared__ __align__(16) uint8_t smem[];
  auto* shared = reinterpret_cast<Shared*>(smem);
  RowBlocks<kCluster> row(&shared->row);
  const int row_index = blockIdx.x / kCluster;
  const SamplingRowParams& params = p.rows[row_index];
  if (threadIdx.x == 0) shared->params = params;
  RowRanks<kCluster>::EmptyBins(&shared->rank);
  const int first_id = row.rank() * slice_size;
  float* values = kCluster > 1 ? reinterpret_cast<float*>(smem + sizeof(*shared))
                               : static_cast<float*>(p.workspace) +
                                     static_cast<int64_t>(row_index) * slice_size;
  const Slice slice{values, first_id, max(0, min(slice_size, p.vocab_size - first_id))};
  const float* logits = p.logits + row_index * p.logits_stride + first_id;
  Prefetch(logits, slice.size);
  const Loaded seen = DrawsWhileLoading(params) ? LoadSlice<true>(slice, logits, params)
                                                : LoadSlice<false>(slice, logits, params);
  row.Sync();  // the row is loaded; every block of the cluster has started
  const int token = SampleRow<kCluster, kLogprobs>(&row, slice, slice_size, p, shared->params,
                                                   row_index, row.Reduce(seen), shared);
  if (row.rank() == 0 && threadIdx.x == 0) {
    p.token_ids[row_index] = token;
    if (kLogprobs && shared->params.num_top_logprobs >= 0) {
      const float logit = token >= 0 ? p.logits[row_index * p.logits_stride + token] : NAN;
      p.logprobs[row_index] += logit;
    }
  }
  row.Sync();  // no block leaves while another may still read its shared memory
}

template <int kCluster, bool kLogprobs>
cudaError_t Launch(const SampleParams& p, cudaStream_t stream) {
  const int slice_size = SliceSize(p.vocab_size, kCluster);
  const size_t bytes = sizeof(Shared) + (kCluster > 1 ? slice_size * sizeof(float) : 0);
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
      p.max_top_logprobs > kMaxTopLogprobs || p.max_ranked < 0 || p.max_ranked > kMaxRankedTokens) {
    return cudaErrorInvalidValue;
  }
  if (p.num_rows == 0) return cudaSuccess;
  if (!p.logits || !p.rows || !p.token_ids ||
      (p.max_top_logprobs > 0 && (!p.top_ids || !p.top_logprobs || !p.logprobs)) ||
      (p.max_ranked > 0 &&
       (!p.ranked_ids || !p.ranked_logprobs || !p.adjusted_logprobs || !p.logprobs))) {
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
