// RMS norm and layer norm with optional residual add before and per-token int8 quantization after.
// Host only. Next: kernels/norm/rms_norm.cu, kernels/norm/layer_norm.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/dtype.h"

namespace pingti::kernels {

// Per row: h = x + residual (rounded to dtype and written back to residual), or h = x without one;
//   y = h / sqrt(mean(h^2) + eps) * weight
// Writes y to `out`, or its quantized form to `quantized` and `scales`, or both.
struct RmsNormParams {
  const void* x = nullptr;   // device, [num_tokens, hidden]
  int64_t x_stride = 0;      // elements between rows; every stride here is a multiple of 8
  void* residual = nullptr;  // device, [num_tokens, hidden], updated in place; null: none
  int64_t residual_stride = 0;
  const float* weight = nullptr;  // device, [hidden]
  float eps = 1e-6f;
  void* out = nullptr;  // device, [num_tokens, hidden]; may be x; null: not wanted
  int64_t out_stride = 0;
  int8_t* quantized = nullptr;  // device, [num_tokens, hidden], from float y; null: not wanted
  int64_t quantized_stride = 0;
  float* scales = nullptr;  // device, [num_tokens]: max |y| / 127, so y ~ scale * quantized
  int32_t num_tokens = 0;
  int32_t hidden = 0;          // a multiple of 8, at most 32768
  DType dtype = DType::kBf16;  // of x, residual and out: kBf16 or kF16
};

// All arrays 16-byte aligned. Accumulates in float. cudaErrorInvalidValue: a null pointer,
// misalignment, or a size outside the ranges above; cudaErrorNotSupported: another dtype.
cudaError_t LaunchRmsNorm(const RmsNormParams& params, cudaStream_t stream);

// As RmsNormParams with
//   y = (h - mean(h)) / sqrt(mean((h - mean(h))^2) + eps) * weight + bias
struct LayerNormParams {
  const void* x = nullptr;   // device, [num_tokens, hidden]
  int64_t x_stride = 0;      // elements between rows; every stride here is a multiple of 8
  void* residual = nullptr;  // device, [num_tokens, hidden], updated in place; null: none
  int64_t residual_stride = 0;
  const float* weight = nullptr;  // device, [hidden]
  const float* bias = nullptr;    // device, [hidden]; null: none
  float eps = 1e-5f;
  void* out = nullptr;  // device, [num_tokens, hidden]; may be x; null: not wanted
  int64_t out_stride = 0;
  int8_t* quantized = nullptr;  // device, [num_tokens, hidden], from float y; null: not wanted
  int64_t quantized_stride = 0;
  float* scales = nullptr;  // device, [num_tokens]: max |y| / 127, so y ~ scale * quantized
  int32_t num_tokens = 0;
  int32_t hidden = 0;          // a multiple of 8, at most 32768
  DType dtype = DType::kBf16;  // of x, residual and out: kBf16
};

// Conditions and errors as for LaunchRmsNorm.
cudaError_t LaunchLayerNorm(const LayerNormParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
