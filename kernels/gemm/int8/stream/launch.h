// Host face of the decode family of the int8 GEMM (m <= 256): weights stream through once.
// Read next: kernel.cuh (the kernel), int8/table.h (which variant a shape gets).
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/include/pingti/kernels/gemm_s8.h"

namespace pingti::kernels {

// Largest token tile, and the grid the workspace is sized for at most.
inline constexpr int kGemmS8StreamMaxTokens = 256;
inline constexpr int kGemmS8StreamMaxBlocks = 160;
// Counters first (two warpgroups per block), then two partial tiles of 128 rows per block.
inline constexpr size_t kGemmS8StreamCounterBytes = 4096;
static_assert(kGemmS8StreamMaxBlocks * 2 * sizeof(uint32_t) <= kGemmS8StreamCounterBytes);
inline constexpr size_t kGemmS8StreamWorkspaceBytes =
    kGemmS8StreamCounterBytes +
    size_t{kGemmS8StreamMaxBlocks} * 2 * 128 * kGemmS8StreamMaxTokens * sizeof(int32_t);

// Kernel arguments beside the tensor maps; fields as in GemmS8Params.
struct GemmS8StreamArgs {
  int m;
  int n;
  int k;
  const float* token_scale;
  const float* channel_scale;
  const __nv_bfloat16* bias;
  const __nv_bfloat16* residual;
  int64_t residual_row_stride;
  __nv_bfloat16* y;
  int64_t y_row_stride;
  int32_t* accumulators;
  uint32_t* counters;  // [blocks, 2], zero between launches
  int32_t* partials;   // [blocks, 2, 128 * tokens]
};

// One instantiation, listed in int8/launch.cu's tables; each lives in its own
// gemm_s8_stream_<tokens>.cu.
template <int kTokens, int kStages, int kCluster>
cudaError_t LaunchGemmS8StreamAs(const GemmS8Params& params, cudaStream_t stream);

}  // namespace pingti::kernels
