// Host face of the grouped GEMM's instances. Read next: kernel.cuh.
#pragma once

#include "pingti/kernels/moe.h"

namespace pingti::kernels {

// One instance: T is __nv_bfloat16 or int8_t; tiles of kBlockRows rows of one expert.
// `row_blocks`: blocks that share an expert's tiles of the same columns.
template <typename T, int kBlockRows>
cudaError_t LaunchGroupedGemmMmaAs(const GroupedGemmParams& params, int row_blocks,
                                   cudaStream_t stream);

}  // namespace pingti::kernels
