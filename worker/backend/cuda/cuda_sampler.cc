#include "worker/backend/cuda/cuda_sampler.h"

#include <algorithm>
#include <limits>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {
namespace {

// Lifts a token above every other: its row then draws it, and reports the log-probability of its
// raw logit.
constexpr float kCertain = 1e30f;

int64_t Place(int64_t* end, size_t bytes) {
  const int64_t offset = *end;
  *end += AlignedBytes(bytes);
  return offset;
}

}  // namespace

CudaSampler::Layout CudaSampler::MakeLayout() const {
  Layout layout;
  int64_t end = rows_.bytes();
  const size_t num_rows = rows_.size();
  const size_t tops = num_rows * static_cast<size_t>(max_top());
  layout.sent = end;
  layout.token_ids = Place(&end, num_rows * sizeof(int32_t));
  layout.logprobs = Place(&end, num_rows * sizeof(float));
  layout.top_ids = Place(&end, tops * sizeof(int32_t));
  layout.top_logprobs = Place(&end, tops * sizeof(float));
  const size_t ranked = num_rows * static_cast<size_t>(rows_.max_ranked());
  layout.ranked_ids = Place(&end, ranked * sizeof(int32_t));
  layout.ranked_logprobs = Place(&end, ranked * sizeof(float));
  layout.adjusted_logprobs = Place(&end, ranked * sizeof(float));
  layout.end = end;
  return layout;
}

absl::Status CudaSampler::Reserve(const Layout& layout, const MatrixView& logits) {
  if (device_ == nullptr || device_->bytes() < layout.end) {
    const int64_t bytes = std::max<int64_t>(2 * layout.end, int64_t{1} << 16);
    PINGTI_ASSIGN_OR_RETURN(device_, CudaBuffer::Make(bytes));
    PINGTI_ASSIGN_OR_RETURN(pinned_, PinnedBuffer::Make(bytes));
  }
  size_t bytes = 0;
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::SampleWorkspaceBytes(static_cast<int>(logits.rows),
                                                            static_cast<int>(logits.cols), &bytes));
  if (workspace_ == nullptr || workspace_->bytes() < static_cast<int64_t>(bytes)) {
    PINGTI_ASSIGN_OR_RETURN(workspace_, CudaBuffer::Make(static_cast<int64_t>(bytes)));
  }
  return absl::OkStatus();
}

absl::Status CudaSampler::Launch(MatrixView logits, cudaStream_t stream) {
  uint8_t* base = device_->as<uint8_t>();
  kernels::SampleParams params;
  params.logits = static_cast<const float*>(logits.data);
  params.logits_stride = logits.stride;
  rows_.SetPointers(base, &params);
  params.allowed_mask_stride = (logits.cols + 31) / 32;
  params.workspace = workspace_->data();
  params.token_ids = reinterpret_cast<int32_t*>(base + layout_.token_ids);
  if (rows_.max_top() >= 0) params.logprobs = reinterpret_cast<float*>(base + layout_.logprobs);
  params.top_ids = reinterpret_cast<int32_t*>(base + layout_.top_ids);
  params.top_logprobs = reinterpret_cast<float*>(base + layout_.top_logprobs);
  params.max_top_logprobs = max_top();
  params.ranked_ids = reinterpret_cast<int32_t*>(base + layout_.ranked_ids);
  params.ranked_logprobs = reinterpret_cast<float*>(base + layout_.ranked_logprobs);
  params.adjusted_logprobs = reinterpret_cast<float*>(base + layout_.adjusted_logprobs);
  params.max_ranked = rows_.max_ranked();
  params.num_rows = static_cast<int32_t>(rows_.size());
  params.vocab_size = static_cast<int32_t>(logits.cols);
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchSample(params, stream));
  return absl::OkStatus();
}

absl::Status CudaSampler::Run(MatrixView logits, cudaStream_t stream) {
  PINGTI_CHECK(logits.dtype == DType::kF32 && logits.rows == rows_.count());
  layout_ = MakeLayout();
  PINGTI_RETURN_IF_ERROR(Reserve(layout_, logits));
  uint8_t* pinned = pinned_.data();
  rows_.CopyTo(pinned);
  PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(
      device_->data(), pinned, static_cast<size_t>(layout_.sent), cudaMemcpyHostToDevice, stream));
  PINGTI_RETURN_IF_ERROR(Launch(logits, stream));
  PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(
      pinned + layout_.sent, device_->as<uint8_t>() + layout_.sent,
      static_cast<size_t>(layout_.end - layout_.sent), cudaMemcpyDeviceToHost, stream));
  PINGTI_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream));
  return absl::OkStatus();
}

void CudaSampler::Read(int64_t row, int32_t num_top, SampledToken* token) const {
  const uint8_t* base = pinned_.data();
  token->token_id = reinterpret_cast<const int32_t*>(base + layout_.token_ids)[row];
  token->logits_not_finite = token->token_id < 0;
  token->top.clear();
  if (num_top < 0 || token->logits_not_finite) return;
  token->logprob = reinterpret_cast<const float*>(base + layout_.logprobs)[row];
  const auto* ids = reinterpret_cast<const int32_t*>(base + layout_.top_ids) + row * max_top();
  const auto* logprobs =
      reinterpret_cast<const float*>(base + layout_.top_logprobs) + row * max_top();
  for (int32_t i = 0; i < num_top; ++i) token->top.push_back({ids[i], logprobs[i]});
}

void CudaSampler::ReadRanked(int64_t row, int32_t num_ranked, SampledToken* token) const {
  token->ranked.clear();
  if (num_ranked == 0 || token->logits_not_finite) return;
  const uint8_t* base = pinned_.data();
  const int64_t first = row * rows_.max_ranked();
  const auto* ids = reinterpret_cast<const int32_t*>(base + layout_.ranked_ids) + first;
  const auto* logprobs = reinterpret_cast<const float*>(base + layout_.ranked_logprobs) + first;
  const auto* adjusted = reinterpret_cast<const float*>(base + layout_.adjusted_logprobs) + first;
  for (int32_t i = 0; i < num_ranked && ids[i] >= 0; ++i) {
    token->ranked.push_back({ids[i], logprobs[i], adjusted[i]});
  }
}

absl::Status CudaSampler::Sample(MatrixView logits, std::span<const SamplingRow> rows,
                                 std::span<SampledToken> sampled, cudaStream_t stream) {
  PINGTI_CHECK(logits.rows == static_cast<int64_t>(rows.size()) && rows.size() == sampled.size());
  if (rows.empty()) return absl::OkStatus();
  rows_.Clear();
  for (const SamplingRow& row : rows) {
    PINGTI_RETURN_IF_ERROR(rows_.Add(row, (logits.cols + 31) / 32));
  }
  PINGTI_RETURN_IF_ERROR(Run(logits, stream));
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto num_top =
        static_cast<int32_t>(std::min<int64_t>(rows[i].num_top_logprobs, logits.cols));
    Read(static_cast<int64_t>(i), num_top, &sampled[i]);
    ReadRanked(static_cast<int64_t>(i), rows[i].num_ranked, &sampled[i]);
  }
  return absl::OkStatus();
}

absl::Status CudaSampler::Logprobs(MatrixView logits, std::span<const LogprobRequest> requests,
                                   std::span<SampledToken> results, cudaStream_t stream) {
  PINGTI_CHECK(requests.size() == results.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const LogprobRequest& request = requests[i];
    if (request.row < 0 || request.row >= logits.rows || request.token_id < 0 ||
        request.token_id >= logits.cols) {
      return absl::InvalidArgumentError(Concat("log-probability of token ", request.token_id,
                                               " at row ", request.row, " of logits [", logits.rows,
                                               ", ", logits.cols, "]"));
    }
  }
  // A run of requests for consecutive rows is one launch; the engine's requests are such runs.
  for (size_t begin = 0; begin < requests.size();) {
    size_t end = begin + 1;
    while (end < requests.size() && requests[end].row == requests[end - 1].row + 1) ++end;
    rows_.Clear();
    for (size_t i = begin; i < end; ++i) {
      const TokenBias bias{requests[i].token_id, kCertain};
      SamplingRow row;
      row.temperature = 0.0f;
      row.logit_bias = std::span(&bias, 1);
      row.num_top_logprobs = requests[i].num_top;
      PINGTI_RETURN_IF_ERROR(rows_.Add(row, 0));
    }
    const auto count = static_cast<int64_t>(end - begin);
    PINGTI_RETURN_IF_ERROR(Run(logits.Rows(requests[begin].row, count), stream));
    for (size_t i = begin; i < end; ++i) {
      SampledToken* result = &results[i];
      const auto num_top =
          static_cast<int32_t>(std::min<int64_t>(requests[i].num_top, logits.cols));
      Read(static_cast<int64_t>(i - begin), num_top, result);
      if (!result->logits_not_finite && result->token_id != requests[i].token_id) {
        result->logprob = -std::numeric_limits<float>::infinity();  // its logit is
      }
      result->token_id = requests[i].token_id;
    }
    begin = end;
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
