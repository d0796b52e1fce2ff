// Instantiation of the mma.sync int8 GEMM for tiles of 64 x 128.
#include "kernels/gemm/int8/mma/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGemmS8MmaAs<64>(const GemmS8Params&, cudaStream_t);

}  // namespace pingti::kernels
