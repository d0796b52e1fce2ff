// Gathers embedding rows. Host only. Next: kernels/activation/embedding.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/dtype.h"

namespace pingti::kernels {

// out[t] = table[token_ids[t] - first_id] where first_id <= token_ids[t] < first_id + num_rows,
// else zeros: a tensor-parallel rank holds a slice of the vocabulary, and the sum over ranks is the
// row.
struct EmbeddingParams {
  const int32_t* token_ids = nullptr;  // device, [num_tokens]
  const void* table = nullptr;  // device, [num_rows, width], 16-bit elements, 16-byte aligned
  int64_t table_stride = 0;     // elements between rows, a multiple of 8
  // Not null: the table is int8, and a row's bf16 values are its scale times its elements. Device,
  // [num_rows]
  const float* row_scale = nullptr;
  void* out = nullptr;     // device, [num_tokens, width], 16-byte aligned
  int64_t out_stride = 0;  // a multiple of 8
  int32_t first_id = 0;
  int32_t num_rows = 0;
  int32_t num_tokens = 0;
  int32_t width = 0;  // a multiple of 8
};

// Without scales, copies bits: any 16-bit type. cudaErrorInvalidValue: a null pointer, misalignment
// or a size outside the ranges above.
cudaError_t LaunchEmbedding(const EmbeddingParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
