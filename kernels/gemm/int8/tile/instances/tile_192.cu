// Instantiations of the prefill int8 GEMM for tiles of 128 x 192.
#include "kernels/gemm/int8/tile/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGemmS8TileAs<192, 4, 1>(const GemmS8Params&, int, cudaStream_t);
template cudaError_t LaunchGemmS8TileAs<192, 4, 2>(const GemmS8Params&, int, cudaStream_t);

}  // namespace pingti::kernels
