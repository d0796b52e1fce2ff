// Matrices and operands as arguments of kernels, for whoever launches one, alone or fused with
// something else.
#pragma once

#include <cstdint>

#include "common/base/check.h"
#include "pingti/kernels/gemm_w4a16.h"
#include "worker/backend/backend.h"
#include "worker/backend/matrix_format.h"
#include "worker/backend/operand.h"

namespace pingti::worker::cuda {

// The quantized activations that the kernels write and read.
inline constexpr OperandType kInt8PerToken{QuantType::kInt8, 0};

// Whether the kernels write this form: values, and int8 with a scale per token or nothing else.
inline bool HasFormOfKernels(const Operand& x) {
  return x.quantized.type.quant == QuantType::kNone || x.quantized.type == kInt8PerToken;
}

// Of a matrix of integers in groups.
inline kernels::WeightBits BitsOf(const MatrixFormat& format) {
  return format.element == ElementType::kInt8 ? kernels::WeightBits::k8 : kernels::WeightBits::k4;
}

inline kernels::ScaleType ScaleTypeOf(const MatrixFormat& format) {
  return format.scale == DType::kBf16 ? kernels::ScaleType::kBf16 : kernels::ScaleType::kF16;
}

// Params: RmsNormParams or LayerNormParams, whose bias stays unset. `residual`: null for none.
// REQUIRES: HasFormOfKernels(out).
template <typename Params>
Params NormParams(MatrixView x, const MatrixView* residual, const DeviceBuffer& weight, float eps,
                  const Operand& out) {
  PINGTI_CHECK(HasFormOfKernels(out));
  Params params;
  params.x = x.data;
  params.x_stride = x.stride;
  if (residual != nullptr) {
    params.residual = residual->data;
    params.residual_stride = residual->stride;
  }
  params.weight = static_cast<const float*>(weight.data());
  params.eps = eps;
  params.out = out.values.data;
  params.out_stride = out.values.stride;
  params.quantized = static_cast<int8_t*>(out.quantized.values);
  params.quantized_stride = out.quantized.stride;
  params.scales = out.quantized.scales;
  params.num_tokens = static_cast<int32_t>(x.rows);
  params.hidden = static_cast<int32_t>(x.cols);
  return params;
}

}  // namespace pingti::worker::cuda
