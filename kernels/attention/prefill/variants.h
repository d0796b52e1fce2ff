// The specialisations that launch.cu chooses from; each is instantiated in its own file.
// They take params that launch.cu has checked. Host side, thread-safe.
#pragma once

#include <cuda_runtime_api.h>

#include "pingti/kernels/prefill_attention.h"

namespace pingti::kernels::prefill {

// sm90_kernel.cuh.
template <int kHeadDim>
cudaError_t LaunchSm90(const PrefillAttentionParams& params, cudaStream_t stream);

// sm80_kernel.cuh. kTransform: with what TransformsScores (plan.h) tells of.
template <int kHeadDim, bool kTransform = false>
cudaError_t LaunchSm80(const PrefillAttentionParams& params, cudaStream_t stream);

}  // namespace pingti::kernels::prefill
