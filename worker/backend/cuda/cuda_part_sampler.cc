#include "worker/backend/cuda/cuda_part_sampler.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "pingti/kernels/sample_parts.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {
namespace {

static_assert(sizeof(PartToken) == sizeof(kernels::PartToken) &&
              sizeof(PartTop) == sizeof(kernels::PartTop) &&
              sizeof(PartSummary) == sizeof(kernels::PartSummary) &&
              kMaxPartCandidates == kernels::kMaxPartCandidates);

int64_t ParameterBytes(const StepLimits& limits) {
  constexpr int64_t kPadding = 4 * 16;  // of the arrays
  return limits.part_rows * int64_t{sizeof(kernels::SamplingRowParams)} +
         kMaxPartParameterWords * int64_t{sizeof(uint32_t)} + kPadding;
}

}  // namespace

int64_t CudaPartSampler::BytesFor(const StepLimits& limits) {
  return limits.part_rows == 0 ? 0 : ParameterBytes(limits);
}

absl::Status CudaPartSampler::Allocate(const StepLimits& limits) {
  vocab_size_ = limits.vocab_size;
  max_rows_ = limits.part_rows;
  if (max_rows_ == 0) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(device_, CudaBuffer::Make(ParameterBytes(limits)));
  PINGTI_ASSIGN_OR_RETURN(pinned_, PinnedBuffer::Make(ParameterBytes(limits)));
  size_t bytes = 0;
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::SampleWorkspaceBytes(static_cast<int>(max_rows_),
                                                            static_cast<int>(vocab_size_), &bytes));
  PINGTI_ASSIGN_OR_RETURN(workspace_, CudaBuffer::Make(static_cast<int64_t>(bytes)));
  return absl::OkStatus();
}

absl::Status CudaPartSampler::SampleParts(MatrixView logits, int64_t first_token,
                                          std::span<const SamplingRow> rows,
                                          const PartsLayout& layout, MatrixView records,
                                          cudaStream_t stream) {
  PINGTI_CHECK(logits.dtype == DType::kF32 && logits.rows <= max_rows_ &&
               logits.rows == static_cast<int64_t>(rows.size()) && records.rows == logits.rows &&
               records.cols == layout.cols());
  if (rows.empty()) return absl::OkStatus();
  const int64_t mask_words = (vocab_size_ + 31) / 32;
  rows_.Clear();
  for (const SamplingRow& row : rows) {
    PINGTI_RETURN_IF_ERROR(rows_.Add(row, mask_words));
    rows_.back().num_candidates = NumPartCandidates(row);
  }
  PINGTI_CHECK(rows_.bytes() <= device_->bytes());
  PINGTI_RETURN_IF_ERROR(sent_.Wait());
  rows_.CopyTo(pinned_.data());
  PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(device_->data(), pinned_.data(),
                                              static_cast<size_t>(rows_.bytes()),
                                              cudaMemcpyHostToDevice, stream));
  PINGTI_RETURN_IF_ERROR(sent_.Record(stream));
  kernels::SamplePartsParams params;
  params.logits = static_cast<const float*>(logits.data);
  params.logits_stride = logits.stride;
  rows_.SetPointers(device_->as<uint8_t>(), &params);
  params.allowed_mask_stride = mask_words;
  params.workspace = workspace_->data();
  params.records = static_cast<float*>(records.data);
  params.records_stride = records.stride;
  params.candidates = layout.candidates;
  params.top = layout.top;
  params.num_rows = static_cast<int32_t>(logits.rows);
  params.first_token = static_cast<int32_t>(first_token);
  params.part_size = static_cast<int32_t>(logits.cols);
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchSampleParts(params, stream));
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
