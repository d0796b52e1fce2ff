// Symmetric int8 quantization of activations, one scale per token. Host only.
// Next: kernels/quant/quantize_tokens.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/dtype.h"

namespace pingti::kernels {

// scales[t] = max |x[t]| / 127; quantized[t, i] = round to nearest even (x[t, i] / scales[t]).
// A row of zeros gives zeros and scale 0.
struct QuantizeTokensParams {
  const void* x = nullptr;       // device, [num_tokens, width]
  int64_t x_stride = 0;          // elements between rows, a multiple of 8
  int8_t* quantized = nullptr;   // device, [num_tokens, width]
  int64_t quantized_stride = 0;  // a multiple of 8
  float* scales = nullptr;       // device, [num_tokens]
  int32_t num_tokens = 0;
  int32_t width = 0;           // a multiple of 8, at most 32768
  DType dtype = DType::kBf16;  // of x: kBf16 or kF16
};

// All arrays 16-byte aligned. cudaErrorInvalidValue: a null pointer, misalignment, or a size
// outside the ranges above; cudaErrorNotSupported: another dtype.
cudaError_t LaunchQuantizeTokens(const QuantizeTokensParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
