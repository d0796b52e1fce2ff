// Host face of the grouped GEMM's wgmma family. Read next: kernel.cuh.
#pragma once

#include <cuda.h>

#include "pingti/kernels/moe.h"

namespace pingti::kernels {

struct GroupedGemmTileArgs {
  CUtensorMap map_x;  // [rows of x, k] in boxes of 64 rows; unset where rows are listed
  CUtensorMap map_w;  // [num_experts, n, k] in boxes of a cluster's part of a tile's columns
  GroupedGemmParams product;
};

// One instance, sm_90a: T is __nv_bfloat16 or int8_t; tiles of kBlockM rows x kBlockN columns, in
// clusters of kCluster along rows. n is a multiple of 8, rows of y are 16-byte aligned.
template <typename T, int kBlockM, int kBlockN, int kCluster>
cudaError_t LaunchGroupedGemmTileAs(const GroupedGemmParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
