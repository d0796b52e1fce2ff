// Instantiations for up to 16 tokens.
#include "kernels/gemm/int8/split/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGemmS8SplitAs<16, 12, 2>(const GemmS8Params&, cudaStream_t);
template cudaError_t LaunchGemmS8SplitAs<16, 12, 3>(const GemmS8Params&, cudaStream_t);
template cudaError_t LaunchGemmS8SplitAs<16, 12, 4>(const GemmS8Params&, cudaStream_t);

}  // namespace pingti::kernels
