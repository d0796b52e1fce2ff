// Records of parts of rows: see sample_parts.h for what they hold.
//
// Mapping, shared memory, precision and architectures: as sample.cu, over a part of the vocabulary.
//   A row without limits and adjustments is drawn while it is loaded; one more pass for each of:
//   logprobs, adjustments, weights for top_p, a draw that had to wait for adjustments. The best
//   tokens are ranked as in rank.cuh, and the first block writes the record.
// Bytes: 4 per token of the part, read once, and the record.

#include <algorithm>

#include "kernels/common/status.h"
#include "kernels/sampling/rank.cuh"
#include "kernels/sampling/row_passes.cuh"
#include "pingti/kernels/sample_parts.h"

namespace pingti::kernels {
namespace {

using namespace sampling;

struct PartShared {
  RowShared row;
  RankShared rank;
  SamplingRowParams params;  // of the row: here they take no registers
};

// Whether the highest score of the part is asked for.
__device__ bool ScoresAll(const SamplingRowParams& r) { return Draws(r) && r.top_k <= 0; }

__device__ void Split(double sum, float* high, float* low) {
  *high = static_cast<float>(sum);
  *low = static_cast<float>(sum - static_cast<double>(*high));
}

// The record of one row; the first block writes it.
class Record {
 public:
  __device__ Record(const SamplePartsParams& p, const SamplingRowParams& r, int row_index)
      : p_(p),
        r_(r),
        logits_(p.logits + row_index * p.logits_stride),
        record_(p.records + row_index * p.records_stride) {}

  // sorted: `count` of at least num_candidates keys, or of all tokens that there are; not read
  // where `best` is all that is wanted.
  __device__ void WriteCandidates(const uint64_t* sorted, uint32_t count, uint64_t best) const {
    const int n = threadIdx.x;
    if (n >= p_.candidates) return;
    uint64_t key = 0;
    if (r_.num_candidates == 1) {
      if (n == 0) key = best;
    } else if (n < r_.num_candidates && n < static_cast<int>(count)) {
      key = sorted[n];
    }
    auto* to = reinterpret_cast<float4*>(record_ + kSummary) + n;
    *to = key != 0 ? Token(LogitOf(key), TokenOf(key)) : None();
  }

  __device__ void WriteTop(const uint64_t* sorted, uint32_t count) const {
    const int n = threadIdx.x;
    if (n >= p_.top) return;
    const bool is_real = n < static_cast<int>(count) && n < r_.num_top_logprobs;
    auto* to = reinterpret_cast<float2*>(record_ + kSummary + 4 * p_.candidates) + n;
    *to = is_real ? float2{LogitOf(sorted[n]), static_cast<float>(TokenOf(sorted[n]))}
                  : float2{0.0f, -1.0f};
  }

  // One thread calls it. `score` is that of token `drawn`, of which `logit` is the adjusted logit;
  // drawn < 0: there is none.
  __device__ void WriteSummary(const PartSummary& summary, float logit, float score,
                               int drawn) const {
    auto* to = reinterpret_cast<float4*>(record_);
    to[0] = {summary.is_finite, summary.raw_is_finite, summary.mass_high, summary.mass_low};
    to[1] = {summary.raw_max, summary.raw_sum_high, summary.raw_sum_low, 0.0f};
    to[2] = drawn < 0 ? None() : float4{logit, score, Raw(drawn), static_cast<float>(drawn)};
  }

 private:
  static constexpr int kSummary = sizeof(PartSummary) / sizeof(float);

  static __device__ float4 None() { return {0.0f, 0.0f, 0.0f, -1.0f}; }
  __device__ float Raw(int id) const { return logits_[id - p_.first_token]; }
  __device__ float4 Token(float logit, int id) const {
    const float score =
        Draws(r_) ? Score(logit, InverseTemperature(r_), TokenNoise(r_.seed, r_.position, id))
                  : 0.0f;
    return {logit, score, Raw(id), static_cast<float>(id)};
  }

  const SamplePartsParams& p_;
  const SamplingRowParams& r_;
  const float* const logits_;
  float* const record_;
};

// A token's logit as it is by now, to all threads.
template <int kCluster>
__device__ float LogitAt(RowBlocks<kCluster>* row, const Slice& slice, int slice_size, int at) {
  const int rank = at / slice_size;
  return *row->Remote(&slice.values[at - rank * slice_size], rank);
}

// Whether the row may be drawn from: no NaN, no +inf.
__device__ bool IsFinite(const Loaded& seen) {
  return !seen.has_nan && (seen.best == 0 || isfinite(LogitOf(seen.best)));
}

// Log-sum and best of the raw logits into the record. Returns how many sorted tokens may serve as
// candidates, too: 0 where they are none.
template <int kCluster>
__device__ uint32_t DescribeRaw(RowBlocks<kCluster>* row, RowRanks<kCluster>* ranks,
                                const Slice& slice, const SamplingRowParams& r,
                                const Loaded& loaded, const Record& record, PartShared* shared,
                                PartSummary* summary) {
  const bool is_finite = IsFinite(loaded);
  uint32_t count = 0;
  if (!is_finite) summary->raw_is_finite = 0.0f;
  if (is_finite && loaded.best != 0) {
    const float best = LogitOf(loaded.best);
    summary->raw_max = best;
    const Weights plain{best, 1.0f};
    Split(row->Reduce(MassesOver(slice, plain, 0, ~uint64_t{0})).total, &summary->raw_sum_high,
          &summary->raw_sum_low);
    if (r.num_top_logprobs > 0) {
      const auto wanted = static_cast<uint32_t>(
          HasAdjustments(r) ? r.num_top_logprobs : max(r.num_top_logprobs, r.num_candidates));
      count = SortBest(ranks, best, wanted, ranks->SortTop(best, wanted));
    }
  }
  if (row->rank() == 0) record.WriteTop(shared->rank.sorted, count);
  return HasAdjustments(r) ? 0 : count;
}

// From the part's loaded logits to its record.
template <int kCluster>
__device__ void Describe(RowBlocks<kCluster>* row, const Slice& slice, int slice_size,
                         const SamplePartsParams& p, const SamplingRowParams& r, int row_index,
                         Loaded loaded, PartShared* shared) {
  const Record record(p, r, row_index);
  RowRanks<kCluster> ranks(row, slice, &shared->rank);
  PartSummary summary{};
  summary.is_finite = summary.raw_is_finite = 1.0f;
  uint32_t num_sorted = 0;
  if (r.num_top_logprobs >= 0) {
    num_sorted = DescribeRaw(row, &ranks, slice, r, loaded, record, shared, &summary);
  } else if (row->rank() == 0) {
    record.WriteTop(nullptr, 0);
  }
  if (HasAdjustments(r)) {
    AdjustLogits(slice, p, r);
    loaded = row->Reduce(BestOfSlice(slice));
  }
  if (!IsFinite(loaded)) summary.is_finite = 0.0f;
  const bool has_tokens = summary.is_finite != 0.0f && loaded.best != 0;
  const float max = has_tokens ? LogitOf(loaded.best) : 0.0f;
  if (has_tokens && r.num_candidates > 1 && num_sorted == 0) {
    const auto wanted = static_cast<uint32_t>(r.num_candidates);
    num_sorted = SortBest(&ranks, max, wanted, ranks.SortTop(max, wanted));
  }
  if (row->rank() == 0) {
    record.WriteCandidates(shared->rank.sorted, has_tokens ? num_sorted : 0,
                           has_tokens ? loaded.best : 0);
  }
  uint64_t drawn = 0;
  if (has_tokens && ScoresAll(r)) {
    const Kept all{0, 0.0f, {max, InverseTemperature(r)}};
    drawn = loaded.drawn != 0 ? loaded.drawn : row->Reduce(DrawAmong(slice, r, all)).key;
    if (r.top_p < 1.0f) {
      Split(row->Reduce(MassesOver(slice, all.weight, 0, ~uint64_t{0})).total, &summary.mass_high,
            &summary.mass_low);
    }
  }
  if (row->rank() != 0 || threadIdx.x > 0) return;
  const int id = drawn != 0 ? TokenOf(drawn) : -1;
  const float logit = id >= 0 ? LogitAt(row, slice, slice_size, id - p.first_token) : 0.0f;
  record.WriteSummary(summary, logit, LogitOf(drawn), id);
}

template <int kCluster>
__global__ void __launch_bounds__(kThreads, kCluster > 1 ? 2 : 1)
    SamplePartsKernel(const SamplePartsParams p, int slice_size) {
  extern __shared__ __align__(16) uint8_t smem[];
  auto* shared = reinterpret_cast<PartShared*>(smem);
  RowBlocks<kCluster> row(&shared->row);
  const int row_index = blockIdx.x / kCluster;
  const SamplingRowParams& params = p.rows[row_index];
  if (threadIdx.x == 0) shared->params = params;
  RowRanks<kCluster>::EmptyBins(&shared->rank);
  const int first = row.rank() * slice_size;
  float* values = kCluster > 1 ? reinterpret_cast<float*>(smem + sizeof(*shared))
                               : static_cast<float*>(p.workspace) +
                                     static_cast<int64_t>(row_index) * slice_size;
  const Slice slice{values, p.first_token + first, max(0, min(slice_size, p.part_size - first))};
  const float* logits = p.logits + row_index * p.logits_stride + first;
  Prefetch(logits, slice.size);
  const bool draws_while_loading = ScoresAll(params) && !HasAdjustments(params);
  const Loaded seen = draws_while_loading ? LoadSlice<true>(slice, logits, params)
                                          : LoadSlice<false>(slice, logits, params);
  row.Sync();  // the part is loaded; every block of the cluster has started
  Describe<kCluster>(&row, slice, slice_size, p, shared->params, row_index, row.Reduce(seen),
                     shared);
  row.Sync();  // no block leaves while another may still read its shared memory
}

template <int kCluster>
cudaError_t Launch(const SamplePartsParams& p, cudaStream_t stream) {
  const int slice_size = SliceSize(p.part_size, kCluster);
  const size_t bytes = sizeof(PartShared) + (kCluster > 1 ? slice_size * sizeof(float) : 0);
  PINGTI_CUDA_RETURN(cudaFuncSetAttribute(SamplePartsKernel<kCluster>,
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
  return cudaLaunchKernelEx(&config, SamplePartsKernel<kCluster>, p, slice_size);
}

}  // namespace

cudaError_t LaunchSampleParts(const SamplePartsParams& p, cudaStream_t stream) {
  if (p.num_rows < 0 || p.part_size <= 0 || p.part_size > kMaxVocab || p.first_token < 0 ||
      p.first_token % kGroup != 0 || p.candidates < 1 || p.candidates > kMaxPartCandidates ||
      p.top < 0 || p.top > kMaxTopLogprobs || p.top % 2 != 0 || p.records_stride % 4 != 0) {
    return cudaErrorInvalidValue;
  }
  if (p.num_rows == 0) return cudaSuccess;
  if (!p.logits || !p.rows || !p.records || reinterpret_cast<uintptr_t>(p.records) % 16 != 0) {
    return cudaErrorInvalidValue;
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  if (device.compute_capability < 80) return cudaErrorNotSupported;
  if (device.compute_capability >= 90) return Launch<kMaxCluster>(p, stream);
  return p.workspace ? Launch<1>(p, stream) : cudaErrorInvalidValue;
}

}  // namespace pingti::kernels
