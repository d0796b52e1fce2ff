// Prefill attention by sm80_kernel.cuh for heads of 128, with transformed scores.
#include "kernels/attention/prefill/sm80_launch.cuh"

namespace pingti::kernels::prefill {

template cudaError_t LaunchSm80<128, true>(const PrefillAttentionParams&, cudaStream_t);

}  // namespace pingti::kernels::prefill
