// Instantiates sm80_kernel.cuh for __nv_bfloat16, head_dim 64, transformed scores. Nothing else.
#include "kernels/attention/prefill/sm80_launch.cuh"

namespace pingti::kernels::prefill {
template cudaError_t LaunchSm80<__nv_bfloat16, 64, true>(const PrefillAttentionParams&,
                                                         cudaStream_t);
}  // namespace pingti::kernels::prefill
