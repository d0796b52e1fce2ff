// Instances of the wgmma grouped GEMM: int8, tiles of 128 rows x 256 columns.
#include "kernels/moe/grouped_gemm/tile/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGroupedGemmTileAs<int8_t, 128, 256, 1>(const GroupedGemmParams&,
                                                                  cudaStream_t);
template cudaError_t LaunchGroupedGemmTileAs<int8_t, 128, 256, 2>(const GroupedGemmParams&,
                                                                  cudaStream_t);

}  // namespace pingti::kernels
