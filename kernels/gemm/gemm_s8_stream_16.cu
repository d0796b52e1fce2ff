// Instantiations of the decode int8 GEMM for up to 16 tokens.
#include "kernels/gemm/gemm_s8_stream_launch.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGemmS8StreamAs<16, 12, 1>(const GemmS8Params&, cudaStream_t);

}  // namespace pingti::kernels
