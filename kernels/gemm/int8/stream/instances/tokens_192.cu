// Instantiations of the decode int8 GEMM for up to 192 tokens.
#include "kernels/gemm/int8/stream/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGemmS8StreamAs<192, 5, 1>(const GemmS8Params&, cudaStream_t);
template cudaError_t LaunchGemmS8StreamAs<192, 5, 2>(const GemmS8Params&, cudaStream_t);

}  // namespace pingti::kernels
