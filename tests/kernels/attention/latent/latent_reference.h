// Latent attention written from the formula, one query row and head at a time, in float64: the
// reference for its test and bench. On the device, as float64 over long contexts is too slow on a
// CPU. Next: latent_reference.cu.
#pragma once

#include <cuda_runtime_api.h>

#include "pingti/kernels/latent_attention.h"

namespace pingti::kernels::testing {

// Computes rows 0 .. q_start[num_seqs] - 1 into `out`, dense [num_rows, num_heads, 512]; other rows
// are left alone. Ignores tensors.out and params.workspace.
cudaError_t LatentReference(const LatentPrefillParams& params, double* out, cudaStream_t stream);

}  // namespace pingti::kernels::testing
