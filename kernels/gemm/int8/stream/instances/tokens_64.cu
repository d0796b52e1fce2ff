// Instantiations of the decode int8 GEMM for up to 64 tokens.
#include "kernels/gemm/int8/stream/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGemmS8StreamAs<64, 9, 1>(const GemmS8Params&, cudaStream_t);
template cudaError_t LaunchGemmS8StreamAs<64, 9, 2>(const GemmS8Params&, cudaStream_t);

}  // namespace pingti::kernels
