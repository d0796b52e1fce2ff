// Instance of the grouped GEMM: bf16, tiles of 128 rows.
#include "kernels/moe/grouped_gemm/mma/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGroupedGemmMmaAs<__nv_bfloat16, 128>(const GroupedGemmParams&, int,
                                                                cudaStream_t);

}  // namespace pingti::kernels
