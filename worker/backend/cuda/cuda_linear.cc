#include "worker/backend/cuda/cuda_linear.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "pingti/kernels/gemm_s8.h"
#include "pingti/kernels/gemm_w4a16.h"
#include "pingti/kernels/quantize.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {
namespace {

// From so many tokens on, weights with scales per group are faster as bf16 rows: the kernel for
// them reads the weights once per 64 tokens (docs/performance.md).
constexpr int64_t kDenseTokens = 256;
// Rows at a time: enough for cuBLASLt to fill the device, few enough that those of smaller models
// stay in the L2 cache until they are multiplied.
constexpr int64_t kDenseRows = 4096;

// bf16 values of the slice of rows that is multiplied at a time.
int64_t DenseValues(const CudaLinearWeight& weight) {
  return std::min(weight.rows, kDenseRows) * weight.cols;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaLinear>> CudaLinear::Make() {
  std::unique_ptr<CudaLinear> linear(new CudaLinear());
  PINGTI_ASSIGN_OR_RETURN(linear->blas_, Blas::Make());
  PINGTI_ASSIGN_OR_RETURN(
      linear->int8_workspace_,
      CudaBuffer::MakeZeroed(static_cast<int64_t>(kernels::GemmS8WorkspaceBytes())));
  PINGTI_ASSIGN_OR_RETURN(
      linear->grouped_workspace_,
      CudaBuffer::MakeZeroed(static_cast<int64_t>(kernels::GemmW4A16WorkspaceBytes())));
  return linear;
}

GemmKind GemmKindOf(const MatrixFormat& format) {
  if (!format.has_scales()) return GemmKind::kBf16;
  return format.operand.quant == QuantType::kInt8 ? GemmKind::kInt8 : GemmKind::kGrouped;
}

absl::Status WriteQuantized(const Operand& x, cudaStream_t stream) {
  if (x.quantized.type.quant == QuantType::kNone) return absl::OkStatus();
  kernels::QuantizeTokensParams params;
  params.x = x.values.data;
  params.x_stride = x.values.stride;
  params.quantized = static_cast<int8_t*>(x.quantized.values);
  params.quantized_stride = x.quantized.stride;
  params.scales = x.quantized.scales;
  params.num_tokens = static_cast<int32_t>(x.values.rows);
  params.width = static_cast<int32_t>(x.values.cols);
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchQuantizeTokens(params, stream));
  return absl::OkStatus();
}

void CudaLinear::Expect(const CudaLinearWeight& weight) {
  if (GemmKindOf(weight.matrix_format) != GemmKind::kGrouped || weight.experts > 0) return;
  dense_values_ = std::max(dense_values_, DenseValues(weight));
}

int64_t CudaLinear::QuantizedBytesFor(const StepLimits& limits) {
  return limits.plain_operands
             ? QuantizedBytes(kInt8PerToken, limits.max_tokens, limits.max_in_features)
             : 0;
}

int64_t CudaLinear::DenseBytesFor(const StepLimits& limits) const {
  return limits.max_tokens < kDenseTokens
             ? 0
             : dense_values_ * static_cast<int64_t>(sizeof(__nv_bfloat16));
}

int64_t CudaLinear::BytesFor(const StepLimits& limits) const {
  return QuantizedBytesFor(limits) + DenseBytesFor(limits);
}

absl::Status CudaLinear::Allocate(const StepLimits& limits) {
  PINGTI_ASSIGN_OR_RETURN(scratch_, CudaBuffer::Make(QuantizedBytesFor(limits)));
  PINGTI_ASSIGN_OR_RETURN(dense_rows_, CudaBuffer::Make(DenseBytesFor(limits)));
  return absl::OkStatus();
}

absl::Status CudaLinear::RunInt8(const CudaLinearWeight& weight, const Operand& x, MatrixView out,
                                 cudaStream_t stream, bool accumulate) {
  const MatrixView& values = x.values;
  QuantizedView form = x.quantized;
  if (form.type != kInt8PerToken) {
    const int64_t bytes = QuantizedBytes(kInt8PerToken, values.rows, values.cols);
    if (scratch_ == nullptr || bytes > scratch_->bytes()) return MissingFormError(kInt8PerToken, x);
    form = PlaceQuantized(kInt8PerToken, scratch_->data(), values.rows, values.cols);
    PINGTI_RETURN_IF_ERROR(WriteQuantized({values, form}, stream));
  }
  kernels::GemmS8Params params;
  params.m = static_cast<int>(values.rows);
  params.n = static_cast<int>(weight.rows);
  params.k = static_cast<int>(weight.cols);
  params.a = static_cast<const int8_t*>(form.values);
  params.a_row_stride = form.stride;
  params.w = weight.values->as<int8_t>();
  params.w_row_stride = weight.cols;
  params.token_scale = form.scales;
  params.channel_scale = weight.scales->as<float>();
  if (weight.bias != nullptr) params.bias = weight.bias->as<__nv_bfloat16>();
  params.y = static_cast<__nv_bfloat16*>(out.data);
  params.y_row_stride = out.stride;
  if (accumulate) params.residual = params.y;
  params.residual_row_stride = out.stride;
  params.workspace = int8_workspace_->data();
  params.workspace_bytes = static_cast<size_t>(int8_workspace_->bytes());
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchGemmS8(params, stream));
  return absl::OkStatus();
}

absl::Status CudaLinear::RunGrouped(const CudaLinearWeight& weight, MatrixView x, MatrixView out,
                                    cudaStream_t stream, bool accumulate) {
  const MatrixFormat& format = weight.matrix_format;
  kernels::GemmW4A16Params params;
  params.m = static_cast<int>(x.rows);
  params.n = static_cast<int>(weight.rows);
  params.k = static_cast<int>(weight.cols);
  params.bits = BitsOf(format);
  params.group_size = static_cast<int>(format.group_size);
  params.a = static_cast<const __nv_bfloat16*>(x.data);
  params.a_row_stride = x.stride;
  params.packed = weight.values->data();
  params.scales = weight.scales->data();
  params.scale_type = ScaleTypeOf(format);
  if (weight.zeros != nullptr) params.zeros = weight.zeros->as<uint8_t>();
  if (weight.bias != nullptr) params.bias = weight.bias->as<__nv_bfloat16>();
  if (out.dtype == DType::kF32) {
    params.y_f32 = static_cast<float*>(out.data);
  } else {
    params.y = static_cast<__nv_bfloat16*>(out.data);
  }
  params.y_row_stride = out.stride;
  if (accumulate) params.residual = params.y;
  params.residual_row_stride = out.stride;
  params.workspace = grouped_workspace_->data();
  params.workspace_bytes = static_cast<size_t>(grouped_workspace_->bytes());
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchGemmW4A16(params, stream));
  return absl::OkStatus();
}

absl::Status CudaLinear::RunDense(const CudaLinearWeight& weight, MatrixView x, MatrixView out,
                                  cudaStream_t stream, bool accumulate) {
  kernels::DequantizeWeightsParams params;
  params.n = static_cast<int>(weight.rows);
  params.k = static_cast<int>(weight.cols);
  params.bits = BitsOf(weight.matrix_format);
  params.group_size = static_cast<int>(weight.matrix_format.group_size);
  params.packed = weight.values->data();
  params.scales = weight.scales->data();
  params.scale_type = ScaleTypeOf(weight.matrix_format);
  if (weight.zeros != nullptr) params.zeros = weight.zeros->as<uint8_t>();
  params.out = dense_rows_->as<__nv_bfloat16>();
  for (int64_t first = 0; first < weight.rows; first += kDenseRows) {
    const int64_t rows = std::min(kDenseRows, weight.rows - first);
    params.first_row = static_cast<int>(first);
    params.num_rows = static_cast<int>(rows);
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchDequantizeWeights(params, stream));
    const void* bias = weight.bias == nullptr ? nullptr : weight.bias->as<__nv_bfloat16>() + first;
    PINGTI_RETURN_IF_ERROR(blas_->Multiply(dense_rows_->data(), bias, x, out.Columns(first, rows),
                                           stream, accumulate));
  }
  return absl::OkStatus();
}

absl::Status CudaLinear::Run(const CudaLinearWeight& weight, const Operand& x, MatrixView out,
                             cudaStream_t stream, bool accumulate) {
  const MatrixView& values = x.values;
  PINGTI_CHECK(values.cols == weight.cols && out.cols == weight.rows && values.rows == out.rows);
  const GemmKind kind = GemmKindOf(weight.matrix_format);
  PINGTI_CHECK((kind != GemmKind::kInt8 && !accumulate) || out.dtype == DType::kBf16);
  if (values.rows == 0) return absl::OkStatus();
  switch (kind) {
    case GemmKind::kBf16:
      return blas_->Multiply(weight.values->data(),
                             weight.bias == nullptr ? nullptr : weight.bias->data(), values, out,
                             stream, accumulate);
    case GemmKind::kInt8:
      return RunInt8(weight, x, out, stream, accumulate);
    case GemmKind::kGrouped: {
      const auto bytes = DenseValues(weight) * static_cast<int64_t>(sizeof(__nv_bfloat16));
      const bool has_room = dense_rows_ != nullptr && dense_rows_->bytes() >= bytes;
      return values.rows >= kDenseTokens && has_room
                 ? RunDense(weight, values, out, stream, accumulate)
                 : RunGrouped(weight, values, out, stream, accumulate);
    }
  }
  CheckFailed(__FILE__, __LINE__, "known GemmKind", "");
}

absl::Status CudaLinear::RunHeads(const CudaLinearWeight& weight, const HeadsView& x,
                                  const HeadsView& out, cudaStream_t stream) {
  PINGTI_CHECK(weight.heads > 0 && x.heads == weight.heads && out.heads == weight.heads &&
               x.cols == weight.in_features() && out.cols == weight.out_features() &&
               x.matrix.rows == out.matrix.rows && out.matrix.dtype == DType::kBf16);
  if (x.matrix.rows == 0) return absl::OkStatus();
  return blas_->MultiplyHeads(weight.values->data(), weight.transposed, x, out, stream);
}

}  // namespace pingti::worker::cuda
