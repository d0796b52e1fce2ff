// The activation of a feed-forward block, gated or plain, optionally quantized to int8 per token.
// Host only. Next: kernels/activation/activation.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/dtype.h"

namespace pingti::kernels {

enum class ActivationKind {
  kSilu,      // f(x) = x / (1 + exp(-x))
  kGelu,      // f(x) = x (1 + erf(x / sqrt 2)) / 2
  kGeluTanh,  // f(x) = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
  // Gated alone (gpt-oss): with gate at most 7 and up in [-7, 7],
  // gate / (1 + exp(-1.702 gate)) * (up + 1).
  kClampedSwiglu,
};

// Gated: y[t, i] = f(x[t, i]) * x[t, width + i], where row t of x holds gate, then up. Plain:
// y[t, i] = f(x[t, i]).
// Writes y to `out`, or its quantized form to `quantized` and `scales`, or both.
struct ActivationParams {
  const void* x = nullptr;  // device, [num_tokens, 2 * width] if gated, else [num_tokens, width]
  int64_t x_stride = 0;     // elements between rows; every stride here is a multiple of 8
  void* out = nullptr;      // device, [num_tokens, width]; may be x if plain; null: not wanted
  int64_t out_stride = 0;
  int8_t* quantized = nullptr;  // device, [num_tokens, width], from float y; null: not wanted
  int64_t quantized_stride = 0;
  float* scales = nullptr;  // device, [num_tokens]: max |y| / 127
  int32_t num_tokens = 0;
  const int32_t* row_limit = nullptr;  // device: rows from this one on are left alone; null: none
  int32_t width = 0;                   // a multiple of 8; at most 32768
  ActivationKind kind = ActivationKind::kSilu;
  bool gated = true;
  DType dtype = DType::kBf16;  // of x and out: kBf16, or kF16 for a gated kSilu
};

// All arrays 16-byte aligned. Computes in float. cudaErrorInvalidValue: a null pointer,
// misalignment, or a size outside the ranges above; cudaErrorNotSupported: another dtype.
cudaError_t LaunchActivation(const ActivationParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
