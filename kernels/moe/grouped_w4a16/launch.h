// Host face of the weight-only grouped GEMM: its arguments and its instances. Read next:
// kernel.cuh.
#pragma once

#include <cstdint>

#include "kernels/gemm/w4a16/launch.h"
#include "pingti/kernels/moe.h"

namespace pingti::kernels {

// The largest tiles of rows: with wgmma, and without.
inline constexpr int kGroupedW4A16MaxTokens = 64;
inline constexpr int kGroupedW4A16MaxMmaTokens = 32;

struct GroupedW4A16Args {
  // Of the whole stack, scale_stride being num_experts * n, but n of one expert; m is unset.
  GemmW4A16Args product;
  const int32_t* x_row;  // as in GroupedGemmParams, and what follows
  const int32_t* first_row;
  const int2* span_of;
  int num_rows;
  int num_experts;
};

// One instance: tiles of kTokens rows, kSteps k16-steps between two scales (2, 4 or 8; of floats
// 2). `row_blocks`: blocks that share an expert's tiles of the same columns. kSplit: blocks of a
// cluster that share a tile's k, more than one on sm_90a alone; each has a stage of k at least.
template <int kBits, int kTokens, int kSteps, bool kIsFloat = false, int kSplit = 1>
cudaError_t LaunchGroupedW4A16As(const GroupedW4A16Args& args, int row_blocks, cudaStream_t stream);

}  // namespace pingti::kernels
