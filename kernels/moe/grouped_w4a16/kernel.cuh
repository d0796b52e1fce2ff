// Weight-only grouped GEMM: the formula of LaunchGroupedW4A16 in moe.h, a block's work that of the
// dense product (kernels/gemm/w4a16/kernel.cuh), whose layout, stages and tiles these are.
//
//   x [rows of x, k] bf16, packed weights of num_experts * n rows, scales and zeros [groups,
//   num_experts * n], y [num_rows, n] bf16.
// Mapping: grid (n / kBlockRows, experts, row blocks), or, with fewer rows than experts, (n /
//   kBlockRows, rows, 1), where the block of an expert's first row takes the expert. A block of
//   four warps takes every row_blocks-th tile of kTokens rows of its expert over all of k, and
//   returns at once where it has none: matrices of experts without rows are not read. Tiles are
//   whole, so that there are no partial sums to join and no workspace.
// Precision: as of the dense product. k is added up in one order per tile size, which sizes alone
//   choose.
// Shared memory: as of the dense product; blocks have half its warps, and an SM two to four of
//   them.
// Bound: few rows per expert: bits / 8 bytes per weight of the experts that have rows. sm_80 and
//   later. Source: as of the dense product. Read next: launch.cu.
#pragma once

#include <cstdint>

#include "kernels/gemm/w4a16/kernel.cuh"
#include "kernels/moe/grouped_w4a16/launch.h"

namespace pingti::kernels {

template <int kBits, int kTokens, int kSteps, bool kIsFloat>
using GroupedW4A16Traits = GemmW4A16Traits<kBits, kTokens, kSteps, 4,
                                           kTokens <= 8    ? 4
                                           : kTokens <= 16 ? 3
                                                           : 2,
                                           kIsFloat>;

// Shared memory behind the stages: which row of x each token of the tile is.
template <typename Traits>
inline constexpr int kGroupedW4A16SharedBytes = Traits::kSharedBytes + 4 * Traits::kTokens;

// One tile: the part's rows, x's rows x_rows, with the weights of tile blockIdx.x.
template <typename Traits>
__device__ __forceinline__ void MultiplyExpertTile(uint8_t* shared, const GemmW4A16Args& args,
                                                   const GemmW4A16Part& part, const int* x_rows) {
  const int tile = blockIdx.x;
  const int chunks = CeilDiv(args.k, kPackedK);
  const int stages = CeilDiv(args.k, Traits::kStageK);
  const auto stage_of = [&](int stage) {
    return shared + stage % Traits::kStages * Traits::kStageBytes;
  };
  const auto load = [&](int stage) {
    uint8_t* const to = stage_of(stage);
    CopyWeights<Traits>(to, args, part, tile, stage, chunks);
    CopyScales<Traits>(to, args, part, tile, stage);
    CopyTokens<Traits>(to, args, part, stage, [x_rows](int row) { return x_rows[row]; });
  };
#pragma unroll
  for (int i = 0; i < Traits::kStages - 1; ++i) {
    if (i < stages) load(i);
    CpAsyncCommit();  // empty groups keep the count
  }
  float acc[Traits::kRegisters];
#pragma unroll
  for (int i = 0; i < Traits::kRegisters; ++i) acc[i] = 0.0f;
#pragma unroll 1
  for (int stage = 0; stage < stages; ++stage) {
    // This stage has landed for every thread, and every thread is done with the one before it,
    // which is the one refilled next.
    CpAsyncWait<Traits::kStages - 2>();
    if constexpr (Traits::kUsesWgmma) ShowToWgmma();
    __syncthreads();
    if (stage + Traits::kStages - 1 < stages) load(stage + Traits::kStages - 1);
    CpAsyncCommit();
    MultiplyStage<Traits>(acc, stage_of(stage), args);
  }
  float out[Traits::kOutRegisters];
  MeetPair<Traits>(acc, out, stage_of(stages - 1));
  WriteTile<Traits>(out, args, part, tile * Traits::kBlockRows);
}

// All tiles of a block.
template <typename Traits>
__device__ __forceinline__ void MultiplyExperts(uint8_t* shared, const GroupedW4A16Args& p) {
  int* const x_rows = reinterpret_cast<int*>(shared + Traits::kSharedBytes);
  const bool by_row = p.num_rows < p.num_experts;
  const int2 span = by_row ? p.span_of[blockIdx.y] : make_int2(blockIdx.y, 0);
  const int expert = span.x;
  const int first = by_row ? blockIdx.y : p.first_row[expert];
  const int end = by_row ? span.y : p.first_row[expert + 1];
#pragma unroll 1
  for (int row0 = first + blockIdx.z * Traits::kTokens; row0 < end;
       row0 += gridDim.z * Traits::kTokens) {
    const GemmW4A16Part part = {expert * p.product.n, row0, min(Traits::kTokens, end - row0)};
    __syncthreads();  // the tile before is done with the stages and the list
    for (int row = row0 + threadIdx.x; row < row0 + part.num_tokens; row += Traits::kThreads) {
      x_rows[row - row0] = p.x_row == nullptr ? row : p.x_row[row];
    }
    __syncthreads();
    MultiplyExpertTile<Traits>(shared, p.product, part, x_rows);
  }
}

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, Traits::kBlocksPerSm)
    GroupedW4A16Kernel(const GroupedW4A16Args args) {
  extern __shared__ __align__(1024) uint8_t shared[];
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
  MultiplyExperts<Traits>(shared, args);
#else
  // Sums of more rows do not fit into registers; the launcher does not ask for them.
  if constexpr (Traits::kTokens <= kGroupedW4A16MaxMmaTokens) MultiplyExperts<Traits>(shared, args);
#endif
}

}  // namespace pingti::kernels
