// Instances of the weight-only grouped GEMM: 4-bit weights, tiles of 8 rows, groups of 32, 64 and
// 128, whole tiles and tiles that two or four blocks share.
#include "kernels/moe/grouped_w4a16/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchGroupedW4A16As<4, 8, 2>(const GroupedW4A16Args&, int, cudaStream_t);
template cudaError_t LaunchGroupedW4A16As<4, 8, 4>(const GroupedW4A16Args&, int, cudaStream_t);
template cudaError_t LaunchGroupedW4A16As<4, 8, 8>(const GroupedW4A16Args&, int, cudaStream_t);
template cudaError_t LaunchGroupedW4A16As<4, 8, 2, false, 2>(const GroupedW4A16Args&, int,
                                                             cudaStream_t);
template cudaError_t LaunchGroupedW4A16As<4, 8, 4, false, 2>(const GroupedW4A16Args&, int,
                                                             cudaStream_t);
template cudaError_t LaunchGroupedW4A16As<4, 8, 8, false, 2>(const GroupedW4A16Args&, int,
                                                             cudaStream_t);
template cudaError_t LaunchGroupedW4A16As<4, 8, 2, false, 4>(const GroupedW4A16Args&, int,
                                                             cudaStream_t);
template cudaError_t LaunchGroupedW4A16As<4, 8, 4, false, 4>(const GroupedW4A16Args&, int,
                                                             cudaStream_t);
template cudaError_t LaunchGroupedW4A16As<4, 8, 8, false, 4>(const GroupedW4A16Args&, int,
                                                             cudaStream_t);

}  // namespace pingti::kernels
