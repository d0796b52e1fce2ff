// Instantiations of the weight-only GEMM: 8-bit weights, up to 8 tokens, groups of 32, 64 and 128.
#include "kernels/gemm/w4a16/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGemmW4A16As<8, 8, 2>(const GemmW4A16Args&, cudaStream_t);
template cudaError_t LaunchGemmW4A16As<8, 8, 4>(const GemmW4A16Args&, cudaStream_t);
template cudaError_t LaunchGemmW4A16As<8, 8, 8>(const GemmW4A16Args&, cudaStream_t);

}  // namespace pingti::kernels
