#include "worker/model/rank_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/backend/sampling_rng.h"

namespace pingti::worker {
namespace {

constexpr int64_t kHighestColumns = 2;  // see Backend::HighestOfRows
// Lifts a token above every other, so that its row takes it and tells its logprob.
constexpr float kCertain = 1e30f;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

}  // namespace

RankSampler::RankSampler(const VocabularyShare& share, int64_t vocab_size, Backend* backend,
                         Communicator* comm)
    : share_(share),
      vocab_size_(vocab_size),
      backend_(backend),
      comm_(comm),
      // All ranks come to the same.
      gathers_rows_(share.stride % kTokensPerDraw != 0 ||
                    share.stride * (comm->size() - 1) >= vocab_size) {}

int64_t RankSampler::PartRows(int64_t max_tokens, int64_t max_seqs) const {
  return needs_all_ranks() ? std::min(max_tokens, max_seqs) : 0;
}

int64_t RankSampler::WorkspaceBytes(int64_t max_tokens, int64_t max_seqs) const {
  if (comm_->size() == 1) return 0;
  const int64_t records = PartRows(max_tokens, max_seqs) * kLargestParts.cols();
  return (max_tokens * kHighestColumns + records) * comm_->size() * int64_t{sizeof(float)};
}

absl::Status RankSampler::Allocate(int64_t max_tokens, int64_t max_seqs) {
  if (comm_->size() == 1) return absl::OkStatus();
  const int64_t cols = kHighestColumns * comm_->size();
  PINGTI_ASSIGN_OR_RETURN(highest_buffer_,
                          backend_->Allocate(max_tokens * cols * int64_t{sizeof(float)}));
  highest_ = {highest_buffer_->data(), DType::kF32, max_tokens, cols, cols};
  max_part_rows_ = PartRows(max_tokens, max_seqs);
  const int64_t record_values = max_part_rows_ * kLargestParts.cols() * comm_->size();
  PINGTI_ASSIGN_OR_RETURN(host_,
                          backend_->AllocateHost(std::max(max_tokens * cols, record_values)));
  if (record_values == 0) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(records_, backend_->Allocate(record_values * int64_t{sizeof(float)}));
  return absl::OkStatus();
}

absl::Status RankSampler::EndStep(MatrixView logits, bool highest_only) {
  if (comm_->size() == 1) return absl::OkStatus();
  if (!highest_only) return gathers_rows_ ? GatherRows(logits) : absl::OkStatus();
  const MatrixView highest = highest_.Rows(0, logits.rows);
  PINGTI_RETURN_IF_ERROR(backend_->HighestOfRows(
      OwnPart(logits), highest.Columns(kHighestColumns * comm_->rank(), kHighestColumns)));
  return comm_->AllGather(highest);
}

absl::Status RankSampler::GatherRows(MatrixView logits) {
  MatrixView shares = logits;
  shares.cols = row_stride();
  return comm_->AllGather(shares);
}

absl::Status RankSampler::CopyToHost(MatrixView matrix) {
  PINGTI_RETURN_IF_ERROR(backend_->CopyToHost(
      matrix, host_->values().first(static_cast<size_t>(matrix.rows * matrix.cols))));
  return comm_->Check();  // of a group that ended there may be anything
}

absl::Status RankSampler::SampleHighest(std::span<SampledToken> sampled) {
  if (!is_first()) return absl::OkStatus();
  PINGTI_RETURN_IF_ERROR(CopyToHost(highest_.Rows(0, static_cast<int64_t>(sampled.size()))));
  const float* row = host_->values().data();
  for (SampledToken& token : sampled) {
    token = {};
    float best = kMinusInfinity;
    // Ranks are in the order of their tokens, so that of equal logits the lowest token is taken.
    for (int64_t rank = 0; rank < comm_->size(); ++rank, row += kHighestColumns) {
      if (row[0] <= best) continue;
      best = row[0];
      token.token_id = static_cast<int32_t>(rank * share_.stride + static_cast<int64_t>(row[1]));
    }
    if (std::isfinite(best)) continue;
    token.token_id = -1;
    token.logits_not_finite = true;
  }
  return absl::OkStatus();
}

absl::Status RankSampler::Sample(MatrixView logits, std::span<const SamplingRow> rows,
                                 std::span<SampledToken> sampled) {
  if (!needs_all_ranks()) return SampleWhole(logits, rows, sampled);
  if (!std::all_of(rows.begin(), rows.end(), DrawsFromParts)) {
    PINGTI_RETURN_IF_ERROR(GatherRows(logits));
    return SampleWhole(logits, rows, sampled);
  }
  for (size_t first = 0; first < rows.size();) {
    const std::span<const SamplingRow> left = rows.subspan(first);
    const size_t count = NumRowsAtOnce(left, max_part_rows_);
    PINGTI_RETURN_IF_ERROR(
        SampleParts(logits.Rows(static_cast<int64_t>(first), static_cast<int64_t>(count)),
                    left.first(count), sampled.subspan(first, count)));
    first += count;
  }
  return absl::OkStatus();
}

absl::Status RankSampler::SampleWhole(MatrixView logits, std::span<const SamplingRow> rows,
                                      std::span<SampledToken> sampled) {
  if (!is_first()) return absl::OkStatus();
  return backend_->Sample(logits, rows, sampled);
}

absl::Status RankSampler::SampleParts(MatrixView logits, std::span<const SamplingRow> rows,
                                      std::span<SampledToken> sampled) {
  const PartsLayout layout = LayoutOfParts(rows);
  const int64_t cols = int64_t{layout.cols()} * comm_->size();
  const MatrixView records{records_->data(), DType::kF32, logits.rows, cols, cols};
  PINGTI_RETURN_IF_ERROR(backend_->SampleParts(
      OwnPart(logits), share_.first, rows, layout,
      records.Columns(int64_t{layout.cols()} * comm_->rank(), layout.cols())));
  PINGTI_RETURN_IF_ERROR(comm_->AllGather(records));
  // Who must gather what stays undecided finds that out by itself: all have the same records.
  if (!is_first() && std::none_of(rows.begin(), rows.end(), MayStayUndecided)) {
    return absl::OkStatus();
  }
  PINGTI_RETURN_IF_ERROR(CopyToHost(records));
  if (!is_first()) own_sampled_.resize(rows.size());
  size_t first = 0;
  size_t end = 0;
  Merge(layout, rows, is_first() ? sampled : own_sampled_, &first, &end);
  if (first == end) return absl::OkStatus();
  const MatrixView undecided =
      logits.Rows(static_cast<int64_t>(first), static_cast<int64_t>(end - first));
  PINGTI_RETURN_IF_ERROR(GatherRows(undecided));
  return SampleWhole(undecided, rows.subspan(first, end - first),
                     is_first() ? sampled.subspan(first, end - first) : sampled);
}

void RankSampler::Merge(const PartsLayout& layout, std::span<const SamplingRow> rows,
                        std::span<SampledToken> sampled, size_t* first, size_t* end) {
  const auto row_values = static_cast<size_t>(layout.cols() * comm_->size());
  for (size_t i = 0; i < rows.size(); ++i) {
    if (merger_.Merge(host_->values().data() + i * row_values, layout, comm_->size(), rows[i],
                      &sampled[i])) {
      continue;
    }
    if (*first == *end) *first = i;
    *end = i + 1;
  }
}

absl::Status RankSampler::Logprobs(MatrixView logits, std::span<const LogprobRequest> requests,
                                   std::span<SampledToken> results) {
  if (!needs_all_ranks()) {
    return is_first() ? backend_->Logprobs(logits, requests, results) : absl::OkStatus();
  }
  for (const LogprobRequest& request : requests) {
    if (request.row < 0 || request.row >= logits.rows || request.token_id < 0 ||
        request.token_id >= vocab_size_) {
      return absl::InvalidArgumentError(Concat("log-probability of token ", request.token_id,
                                               " at row ", request.row, " of logits [", logits.rows,
                                               ", ", vocab_size_, "]"));
    }
  }
  logprob_biases_.clear();
  for (const LogprobRequest& request : requests) {
    logprob_biases_.push_back({request.token_id, kCertain});
  }
  // A run of requests for consecutive rows is one exchange; the engine's requests are such runs.
  for (size_t begin = 0; begin < requests.size();) {
    size_t end = begin + 1;
    while (end < requests.size() && requests[end].row == requests[end - 1].row + 1) ++end;
    logprob_rows_.clear();
    for (size_t i = begin; i < end; ++i) {
      SamplingRow& row = logprob_rows_.emplace_back();
      row.temperature = 0.0f;
      row.logit_bias = std::span(&logprob_biases_[i], 1);
      row.num_top_logprobs = requests[i].num_top;
    }
    const std::span<SampledToken> own = results.subspan(begin, end - begin);
    PINGTI_RETURN_IF_ERROR(Sample(
        logits.Rows(requests[begin].row, static_cast<int64_t>(end - begin)), logprob_rows_, own));
    for (size_t i = begin; is_first() && i < end; ++i) {
      if (!results[i].logits_not_finite && results[i].token_id != requests[i].token_id) {
        results[i].logprob = kMinusInfinity;  // its logit is
      }
      results[i].token_id = requests[i].token_id;
    }
    begin = end;
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker
