// Weight-only grouped GEMM: the formula of LaunchGroupedW4A16 in moe.h, a block's work that of the
// dense product (kernels/gemm/w4a16/kernel.cuh), whose layout, stages and tiles these are.
//
//   x [rows of x, k] bf16, packed weights of num_experts * n rows, scales and zeros [groups,
//   num_experts * n], y [num_rows, n] bf16.
// Mapping: grid (n / kBlockRows, experts, row blocks), or, with fewer rows than experts, (n /
//   kBlockRows, rows, 1), where the block of an expert's first row takes the expert. A block of
//   four warps takes every row_blocks-th tile of kTokens rows of its expert over all of k, and
//   returns at once where it has none: matrices of experts without rows are not read. Where that
//   would leave SMs idle, kSplit blocks of a cluster share a tile's k and the first one adds up, in
//   their order; so there is no workspace.
// Precision: as of the dense product. k is added up in one order per tile size and kSplit, which
//   sizes alone choose.
// Shared memory: as of the dense product; blocks have half its warps, and an SM two to four of
//   them.
// Bound: few rows per expert: bits / 8 bytes per weight of the experts that have rows. sm_80 and
//   later. Source: as of the dense product. Read next: launch.cu.
#pragma once

#include <cstdint>

#include "kernels/common/cluster.cuh"
#include "kernels/gemm/w4a16/kernel.cuh"
#include "kernels/moe/grouped_w4a16/launch.h"

namespace pingti::kernels {

// Blocks that an SM has room for. Four would not leave shared tiles of integers in groups of 32
// their registers.
constexpr int GroupedW4A16BlocksPerSm(int bits, int tokens, int steps, bool is_float, int split) {
  if (bits == 4 && steps == 2 && !is_float && split > 1) return 3;
  return tokens <= 8 ? 4 : tokens <= 16 ? 3 : 2;
}

template <int kBits, int kTokens, int kSteps, bool kIsFloat, int kSplit>
using GroupedW4A16Traits =
    GemmW4A16Traits<kBits, kTokens, kSteps, 4,
                    GroupedW4A16BlocksPerSm(kBits, kTokens, kSteps, kIsFloat, kSplit), kIsFloat>;

// Shared memory behind the stages: which row of x each token of the tile is, then the sums that a
// cluster's blocks exchange.
template <typename Traits>
inline constexpr int kGroupedW4A16SumsAt = Traits::kSharedBytes + 4 * Traits::kTokens;
template <typename Traits, int kSplit>
inline constexpr int kGroupedW4A16SharedBytes =
    kGroupedW4A16SumsAt<Traits> + (kSplit > 1 ? Traits::kThreads * Traits::kOutRegisters * 4 : 0);

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// Adds up what the cluster's blocks have of one tile, in their order, and leaves the sum to the
// first one: true there. All threads of all blocks; ClusterWait() follows before anyone leaves or
// writes into `sums` again.
template <typename Traits, int kSplit>
__device__ __forceinline__ bool MeetCluster(float (&out)[Traits::kOutRegisters], uint8_t* sums) {
  static_assert(Traits::kOutRegisters == 4, "one vector a thread");
  const uint32_t rank = ClusterRank();
  float4* const own = reinterpret_cast<float4*>(sums) + threadIdx.x;
  if (rank > 0) *own = make_float4(out[0], out[1], out[2], out[3]);
  ClusterSync();
  if (rank == 0) {
#pragma unroll
    for (uint32_t other = 1; other < kSplit; ++other) {
      const uint4 bits = LoadCluster16(own, other);
      out[0] += __uint_as_float(bits.x);
      out[1] += __uint_as_float(bits.y);
      out[2] += __uint_as_float(bits.z);
      out[3] += __uint_as_float(bits.w);
    }
  }
  ClusterArrive();
  return rank == 0;
}
#endif

// One tile: the part's rows, x's rows x_rows, with the weights of tile blockIdx.x / kSplit.
template <typename Traits, int kSplit>
__device__ __forceinline__ void MultiplyExpertTile(uint8_t* shared, const GemmW4A16Args& args,
                                                   const GemmW4A16Part& part, const int* x_rows) {
  const int tile = blockIdx.x / kSplit;
  const int share = blockIdx.x % kSplit;
  const int chunks = CeilDiv(args.k, kPackedK);
  const int all_stages = CeilDiv(args.k, Traits::kStageK);
  const int start = all_stages * share / kSplit;
  const int end = all_stages * (share + 1) / kSplit;
  const auto stage_of = [&](int stage) {
    return shared + (stage - start) % Traits::kStages * Traits::kStageBytes;
  };
  const auto load = [&](int stage) {
    uint8_t* const to = stage_of(stage);
    CopyWeights<Traits>(to, args, part, tile, stage, chunks);
    CopyScales<Traits>(to, args, part, tile, stage);
    CopyTokens<Traits>(to, args, part, stage, [x_rows](int row) { return x_rows[row]; });
  };
#pragma unroll
  for (int i = 0; i < Traits::kStages - 1; ++i) {
    if (start + i < end) load(start + i);
    CpAsyncCommit();  // empty groups keep the count
  }
  float acc[Traits::kRegisters];
#pragma unroll
  for (int i = 0; i < Traits::kRegisters; ++i) acc[i] = 0.0f;
#pragma unroll 1
  for (int stage = start; stage < end; ++stage) {
    // This stage has landed for every thread, and every thread is done with the one before it,
    // which is the one refilled next.
    CpAsyncWait<Traits::kStages - 2>();
    if constexpr (Traits::kUsesWgmma) ShowToWgmma();
    __syncthreads();
    if (stage + Traits::kStages - 1 < end) load(stage + Traits::kStages - 1);
    CpAsyncCommit();
    MultiplyStage<Traits>(acc, stage_of(stage), args);
  }
  float out[Traits::kOutRegisters];
  MeetPair<Traits>(acc, out, stage_of(end - 1));
  if constexpr (kSplit == 1) {
    WriteTile<Traits>(out, args, part, tile * Traits::kBlockRows);
  } else {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    if (MeetCluster<Traits, kSplit>(out, shared + kGroupedW4A16SumsAt<Traits>)) {
      WriteTile<Traits>(out, args, part, tile * Traits::kBlockRows);
    }
    ClusterWait();
#endif
  }
}

// All tiles of a block.
template <typename Traits, int kSplit>
__device__ __forceinline__ void MultiplyExperts(uint8_t* shared, const GroupedW4A16Args& p) {
  int* const x_rows = reinterpret_cast<int*>(shared + Traits::kSharedBytes);
  const int thread = static_cast<int>(threadIdx.x);
  const auto x_row_of = [&](int row) {
    if (thread >= Traits::kTokens || row >= p.num_rows || p.x_row == nullptr) return row;
    return p.x_row[row];
  };
  const bool by_row = p.num_rows < p.num_experts;
  const int2 span = by_row ? p.span_of[blockIdx.y] : make_int2(blockIdx.y, 0);
  const int first = by_row ? blockIdx.y : p.first_row[span.x];
  // Tiles whose k is shared are not shared out themselves.
  const int step = kSplit > 1 ? Traits::kTokens : gridDim.z * Traits::kTokens;
  int row0 = kSplit > 1 ? first : first + blockIdx.z * Traits::kTokens;
  int x_row = x_row_of(row0 + thread);  // of the tile to come; does not wait for the span
  const int end = by_row ? span.y : p.first_row[span.x + 1];
#pragma unroll 1
  while (row0 < end) {
    const GemmW4A16Part part = {span.x * p.product.n, row0, min(Traits::kTokens, end - row0)};
    __syncthreads();  // the tile before is done with the stages and the list
    if (thread < part.num_tokens) x_rows[thread] = x_row;
    __syncthreads();
    MultiplyExpertTile<Traits, kSplit>(shared, p.product, part, x_rows);
    row0 += step;
    x_row = x_row_of(row0 + thread);
  }
}

template <typename Traits, int kSplit>
__global__ void __launch_bounds__(Traits::kThreads, Traits::kBlocksPerSm)
    GroupedW4A16Kernel(const GroupedW4A16Args args) {
  extern __shared__ __align__(1024) uint8_t shared[];
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
  MultiplyExperts<Traits, kSplit>(shared, args);
#else
  // Sums of more rows do not fit into registers, and there are no clusters; the launcher does not
  // ask for them.
  if constexpr (Traits::kTokens <= kGroupedW4A16MaxMmaTokens && kSplit == 1) {
    MultiplyExperts<Traits, kSplit>(shared, args);
  }
#endif
}

}  // namespace pingti::kernels
