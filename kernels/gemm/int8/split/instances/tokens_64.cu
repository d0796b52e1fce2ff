// Instantiations for up to 64 tokens.
#include "kernels/gemm/int8/split/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGemmS8SplitAs<64, 9, 2>(const GemmS8Params&, cudaStream_t);
template cudaError_t LaunchGemmS8SplitAs<64, 9, 3>(const GemmS8Params&, cudaStream_t);
template cudaError_t LaunchGemmS8SplitAs<64, 9, 4>(const GemmS8Params&, cudaStream_t);

}  // namespace pingti::kernels
