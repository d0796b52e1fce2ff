// Host face of the family of the int8 GEMM whose clusters share a tile's k (m <= 128). Read next:
// kernel.cuh (the kernel), int8/table.h (which variant a shape gets).
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/gemm/int8/stream/launch.h"

namespace pingti::kernels {

// One instantiation, listed in int8/launch.cu's tables; they live in instances/tokens_*.cu.
template <int kTokens, int kStages, int kSplit>
cudaError_t LaunchGemmS8SplitAs(const GemmS8Params& params, cudaStream_t stream);

}  // namespace pingti::kernels
