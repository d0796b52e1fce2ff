// Instantiates sm90_kernel.cuh for __half, head_dim 128. Nothing else.
#include "kernels/attention/prefill/sm90_launch.cuh"

namespace pingti::kernels::prefill {
template cudaError_t LaunchSm90<__half, 128>(const PrefillAttentionParams&, cudaStream_t);
}  // namespace pingti::kernels::prefill
