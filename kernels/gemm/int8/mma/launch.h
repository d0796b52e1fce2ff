// Host face of the sm_80 family of the int8 GEMM: mma.sync tiles, any m.
// Read next: kernel.cuh (the kernel), int8/table.h (which variant a shape gets).
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/include/pingti/kernels/gemm_s8.h"

namespace pingti::kernels {

inline constexpr int kGemmS8MmaMaxBlocks = 160;
inline constexpr size_t kGemmS8MmaCounterBytes = 4096;
inline constexpr size_t kGemmS8MmaWorkspaceBytes =
    kGemmS8MmaCounterBytes + size_t{kGemmS8MmaMaxBlocks} * 2 * 128 * 128 * sizeof(int32_t);

// One instantiation, listed in int8/launch.cu's tables; each lives in its own
// gemm_s8_mma_<block_m>.cu.
template <int kBlockM>
cudaError_t LaunchGemmS8MmaAs(const GemmS8Params& params, cudaStream_t stream);

}  // namespace pingti::kernels
