// Prefill attention by sm90_kernel.cuh for heads of 64.
#include "kernels/attention/prefill/sm90_launch.cuh"

namespace pingti::kernels::prefill {

template cudaError_t LaunchSm90<64>(const PrefillAttentionParams&, cudaStream_t);

}  // namespace pingti::kernels::prefill
