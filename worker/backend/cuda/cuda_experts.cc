#include "worker/backend/cuda/cuda_experts.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "pingti/kernels/moe.h"
#include "worker/backend/cuda/cuda_status.h"
#include "worker/backend/cuda/kernel_params.h"

namespace pingti::worker::cuda {
namespace {

int64_t Choices(const StepLimits& limits) { return limits.max_tokens * limits.experts_per_token; }

int64_t ScratchBytes(const StepLimits& limits) {
  if (!limits.plain_operands) return 0;
  return std::max(QuantizedBytes(kInt8PerToken, limits.max_tokens, limits.max_in_features),
                  QuantizedBytes(kInt8PerToken, Choices(limits), limits.max_expert_inner));
}

// REQUIRES: a weight of GemmKind::kGrouped.
kernels::GroupScales GroupScalesOf(const CudaLinearWeight& weight) {
  kernels::GroupScales scales;
  scales.bits = BitsOf(weight.matrix_format);
  scales.group_size = static_cast<int>(weight.matrix_format.group_size);
  scales.scales = weight.scales->data();
  scales.type = ScaleTypeOf(weight.matrix_format);
  if (weight.zeros != nullptr) scales.zeros = weight.zeros->as<uint8_t>();
  scales.is_fp4 = weight.matrix_format.element == ElementType::kFp4;
  return scales;
}

}  // namespace

int64_t CudaExperts::BytesFor(const StepLimits& limits) {
  if (limits.num_experts == 0) return 0;
  return 24 * Choices(limits) + 4 * (limits.num_experts + 1) + ScratchBytes(limits);
}

absl::Status CudaExperts::Allocate(const StepLimits& limits) {
  max_choices_ = Choices(limits);
  if (limits.num_experts == 0) return absl::OkStatus();
  for (std::unique_ptr<CudaBuffer>* buffer : {&experts_, &weights_, &row_of_, &token_of_}) {
    PINGTI_ASSIGN_OR_RETURN(*buffer, CudaBuffer::Make(4 * max_choices_));
  }
  PINGTI_ASSIGN_OR_RETURN(span_of_, CudaBuffer::Make(8 * max_choices_));
  PINGTI_ASSIGN_OR_RETURN(first_row_, CudaBuffer::Make(4 * (limits.num_experts + 1)));
  PINGTI_ASSIGN_OR_RETURN(scratch_, CudaBuffer::Make(ScratchBytes(limits)));
  return absl::OkStatus();
}

absl::Status CudaExperts::Route(MatrixView logits, const ExpertRouting& routing, const float* bias,
                                const Counts& counts, cudaStream_t stream) {
  num_tokens_ = logits.rows;
  routing_ = routing;
  PINGTI_CHECK(logits.cols == routing.num_experts &&
               num_tokens_ * routing.experts_per_token <= max_choices_);
  kernels::RouteExpertsParams route;
  route.logits = static_cast<const float*>(logits.data);
  route.logits_stride = logits.stride;
  route.bias = bias;
  route.counts = counts.values;
  route.slots = counts.slots;
  route.experts = experts_->as<int32_t>();
  route.weights = weights_->as<float>();
  route.num_tokens = static_cast<int32_t>(num_tokens_);
  route.num_experts = static_cast<int32_t>(routing.num_experts);
  route.experts_per_token = static_cast<int32_t>(routing.experts_per_token);
  route.sigmoid = routing.score == RouterScore::kSigmoid;
  route.normalize = routing.normalize;
  route.scale = routing.scale;
  route.num_groups = static_cast<int32_t>(routing.num_groups);
  route.groups_per_token = static_cast<int32_t>(routing.groups_per_token);
  route.group_best = static_cast<int32_t>(routing.group_best);
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchRouteExperts(route, stream));
  kernels::SortExpertRowsParams sort;
  sort.experts = route.experts;
  sort.row_of = row_of_->as<int32_t>();
  sort.token_of = token_of_->as<int32_t>();
  sort.first_row = first_row_->as<int32_t>();
  sort.span_of = span_of_->as<int2>();
  sort.num_tokens = route.num_tokens;
  sort.experts_per_token = route.experts_per_token;
  sort.first_expert = static_cast<int32_t>(routing.first_held);
  sort.num_experts = static_cast<int32_t>(routing.held());
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchSortExpertRows(sort, stream));
  return absl::OkStatus();
}

const int32_t* CudaExperts::num_rows() const {
  if (routing_.held() == routing_.num_experts) return nullptr;
  return first_row_->as<int32_t>() + routing_.held();
}

absl::Status CudaExperts::QuantizedForm(const Operand& x, cudaStream_t stream,
                                        QuantizedView* form) {
  *form = x.quantized;
  if (form->type == kInt8PerToken) return absl::OkStatus();
  const MatrixView& values = x.values;
  const int64_t bytes = QuantizedBytes(kInt8PerToken, values.rows, values.cols);
  if (scratch_ == nullptr || bytes > scratch_->bytes()) return MissingFormError(kInt8PerToken, x);
  *form = PlaceQuantized(kInt8PerToken, scratch_->data(), values.rows, values.cols);
  return WriteQuantized({values, *form}, stream);
}

absl::Status CudaExperts::Linear(const CudaLinearWeight& weight, const Operand& x, RowOrder order,
                                 MatrixView out, cudaStream_t stream) {
  const int64_t rows = num_tokens_ * routing_.rows_per_token();
  const MatrixView& values = x.values;
  const int64_t n = weight.rows / routing_.held();
  const bool by_token = order == RowOrder::kByToken;
  PINGTI_CHECK(weight.experts == routing_.held() && values.cols == weight.cols && out.cols == n &&
               values.rows == (by_token ? num_tokens_ : rows) && out.rows == rows &&
               out.dtype == DType::kBf16);
  const GemmKind kind = GemmKindOf(weight.matrix_format);
  kernels::GroupedGemmParams params;
  params.x = values.data;
  params.x_stride = values.stride;
  if (kind == GemmKind::kInt8) {
    QuantizedView form;
    PINGTI_RETURN_IF_ERROR(QuantizedForm(x, stream, &form));
    params.x = form.values;
    params.x_stride = form.stride;
    params.x_scale = form.scales;
    params.w_scale = weight.scales->as<float>();
  }
  if (by_token) params.x_row = token_of_->as<int32_t>();
  params.w = weight.values->data();
  if (weight.bias != nullptr) params.bias = weight.bias->as<__nv_bfloat16>();
  params.first_row = first_row_->as<int32_t>();
  params.span_of = span_of_->as<int2>();
  params.y = static_cast<__nv_bfloat16*>(out.data);
  params.y_stride = out.stride;
  params.num_rows = static_cast<int32_t>(rows);
  params.expected_rows = static_cast<int32_t>(num_tokens_ * routing_.experts_per_token *
                                              routing_.held() / routing_.num_experts);
  params.num_experts = static_cast<int32_t>(routing_.held());
  params.n = static_cast<int32_t>(n);
  params.k = static_cast<int32_t>(weight.cols);
  if (kind != GemmKind::kGrouped) {
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchGroupedGemm(params, stream));
    return absl::OkStatus();
  }
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchGroupedW4A16(params, GroupScalesOf(weight), stream));
  return absl::OkStatus();
}

absl::Status CudaExperts::Combine(MatrixView rows, const SharedExpert& shared, MatrixView out,
                                  cudaStream_t stream) {
  PINGTI_CHECK(out.rows == num_tokens_ && rows.rows == num_tokens_ * routing_.rows_per_token() &&
               rows.cols == out.cols);
  kernels::CombineExpertsParams params;
  params.rows = static_cast<const __nv_bfloat16*>(rows.data);
  params.rows_stride = rows.stride;
  params.row_of = row_of_->as<int32_t>();
  params.weights = weights_->as<float>();
  params.shared = static_cast<const __nv_bfloat16*>(shared.out.data);
  params.shared_stride = shared.out.stride;
  params.gate = static_cast<const float*>(shared.gate.data);
  params.gate_stride = shared.gate.stride;
  params.out = static_cast<__nv_bfloat16*>(out.data);
  params.out_stride = out.stride;
  params.num_tokens = static_cast<int32_t>(num_tokens_);
  params.experts_per_token = static_cast<int32_t>(routing_.experts_per_token);
  params.width = static_cast<int32_t>(out.cols);
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchCombineExperts(params, stream));
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
