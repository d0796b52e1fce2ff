// Instance of the grouped GEMM: bf16, tiles of 64 rows.
#include "kernels/moe/grouped_gemm/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGroupedGemmAs<__nv_bfloat16, 64>(const GroupedGemmParams&, int,
                                                            cudaStream_t);

}  // namespace pingti::kernels
