// Host face of the prefill family of the int8 GEMM: its variants and their launchers.
// Read next: kernel.cuh (the kernel), int8/table.h (which variant a shape gets).
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/include/pingti/kernels/gemm_s8.h"

namespace pingti::kernels {

// Kernel arguments beside the tensor maps; fields as in GemmS8Params.
struct GemmS8TileArgs {
  int m;
  int n;
  int k;
  int group_m;  // cluster rows walked before moving one tile along n
  const float* token_scale;
  const float* channel_scale;
  const __nv_bfloat16* bias;
  const __nv_bfloat16* residual;
  int64_t residual_row_stride;
  int32_t* accumulators;
};

// One instantiation, listed in int8/launch.cu's tables; each lives in its own
// gemm_s8_tile_<block_n>.cu.
template <int kBlockN, int kStages, int kCluster>
cudaError_t LaunchGemmS8TileAs(const GemmS8Params& params, int group_m, cudaStream_t stream);

}  // namespace pingti::kernels
