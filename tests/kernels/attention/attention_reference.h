// Attention over a paged KV cache written from the formula, one query row and head at a time, as
// slow and as plain as can be: the reference for the prefill and decode tests. Runs on the device
// because float64 over 128k keys is too slow on a CPU. Next: attention_reference.cu.
#pragma once

#include <cuda_runtime_api.h>

#include "pingti/kernels/prefill_attention.h"

namespace pingti::kernels::testing {

enum class Precision {
  kFloat64,  // everything in float64
  kLow,  // float32 sums; P (relative to the row's maximum) and the result rounded to the tensors'
         // type
};

// Computes rows 0 .. q_start[num_seqs] - 1 of o into `out`, dense [total_q_tokens, num_q_heads,
// head_dim] of double; other rows are left alone. Ignores params.out and params.workspace. Any
// head_dim up to 256, dtype kBf16, any page_tokens.
cudaError_t AttentionReference(const PrefillAttentionParams& params, Precision precision,
                               double* out, cudaStream_t stream);

}  // namespace pingti::kernels::testing
