// Instances of the wgmma grouped GEMM: bf16, tiles of 128 rows x 256 columns.
#include "kernels/moe/grouped_gemm/tile/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGroupedGemmTileAs<__nv_bfloat16, 128, 256, 1>(const GroupedGemmParams&,
                                                                         cudaStream_t);
template cudaError_t LaunchGroupedGemmTileAs<__nv_bfloat16, 128, 256, 2>(const GroupedGemmParams&,
                                                                         cudaStream_t);

}  // namespace pingti::kernels
