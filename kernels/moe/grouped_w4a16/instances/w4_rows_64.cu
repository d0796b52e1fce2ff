// Instances of the weight-only grouped GEMM: 4-bit weights, tiles of 64 rows, groups of 32, 64 and
// 128.
#include "kernels/moe/grouped_w4a16/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGroupedW4A16As<4, 64, 2>(const GroupedW4A16Args&, int, cudaStream_t);
template cudaError_t LaunchGroupedW4A16As<4, 64, 4>(const GroupedW4A16Args&, int, cudaStream_t);
template cudaError_t LaunchGroupedW4A16As<4, 64, 8>(const GroupedW4A16Args&, int, cudaStream_t);

}  // namespace pingti::kernels
