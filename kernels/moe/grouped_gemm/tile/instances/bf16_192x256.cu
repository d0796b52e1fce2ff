// Instance of the wgmma grouped GEMM: bf16, tiles of 192 rows x 256 columns.
#include "kernels/moe/grouped_gemm/tile/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGroupedGemmTileAs<__nv_bfloat16, 192, 256, 1>(const GroupedGemmParams&,
                                                                         cudaStream_t);

}  // namespace pingti::kernels
