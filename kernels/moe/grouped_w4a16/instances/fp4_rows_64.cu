// Instance of the weight-only grouped GEMM: 4-bit floats, tiles of 64 rows, groups of 32.
#include "kernels/moe/grouped_w4a16/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGroupedW4A16As<4, 64, 2, true>(const GroupedW4A16Args&, int,
                                                          cudaStream_t);

}  // namespace pingti::kernels
