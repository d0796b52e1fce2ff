// SwiGLU, optionally quantized to int8 per token. Host only. Next: kernels/activation/swiglu.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/dtype.h"

namespace pingti::kernels {

// y[t, i] = silu(gate[t, i]) * up[t, i], where row t of gate_up holds gate, then up.
// Writes y to `out`, or its quantized form to `quantized` and `scales`, or both.
struct SwiGluParams {
  const void* gate_up = nullptr;  // device, [num_tokens, 2 * width]
  int64_t gate_up_stride = 0;     // elements between rows; every stride here is a multiple of 8
  void* out = nullptr;            // device, [num_tokens, width]; null: not wanted
  int64_t out_stride = 0;
  int8_t* quantized = nullptr;  // device, [num_tokens, width], from float y; null: not wanted
  int64_t quantized_stride = 0;
  float* scales = nullptr;  // device, [num_tokens]: max |y| / 127
  int32_t num_tokens = 0;
  int32_t width = 0;           // a multiple of 8; at most 32768
  DType dtype = DType::kBf16;  // of gate_up and out: kBf16 or kF16
};

// All arrays 16-byte aligned. Computes in float. cudaErrorInvalidValue: a null pointer,
// misalignment, or a size outside the ranges above; cudaErrorNotSupported: another dtype.
cudaError_t LaunchSwiGlu(const SwiGluParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
