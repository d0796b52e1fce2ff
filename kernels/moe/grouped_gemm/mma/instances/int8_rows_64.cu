// Instance of the grouped GEMM: int8, tiles of 64 rows.
#include "kernels/moe/grouped_gemm/mma/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGroupedGemmMmaAs<int8_t, 64>(const GroupedGemmParams&, int,
                                                        cudaStream_t);

}  // namespace pingti::kernels
