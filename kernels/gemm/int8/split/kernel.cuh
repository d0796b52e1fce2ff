// int8 W8A8 GEMM for decode where there are fewer tiles than SMs: the formula of gemm_s8.h.
//
// Mapping: a cluster of kSplit blocks per tile of 128 weight rows; each multiplies a part of k, as
//   the decode GEMM's blocks do (int8/stream/kernel.cuh). Then every block leaves its accumulators
//   in its shared memory, and each adds up all blocks' for its part of the tokens and writes those.
//   Against stream-K, where the last block of a tile reads what the others left in the L2 and
//   writes all, the end of a product is kSplit times shorter.
// Shared memory: the pipeline's stages, and after the products the accumulators in their place.
// Bound: as the decode GEMM's. Sums are s32, exact: no order changes them.
// sm_90a only. Source: PTX ISA ("mapa", "barrier.cluster").
#pragma once

#include <cstdint>

#include "kernels/common/cluster.cuh"
#include "kernels/gemm/int8/split/launch.h"
#include "kernels/gemm/int8/stream/kernel.cuh"

namespace pingti::kernels {

template <int kTokens_, int kStages_, int kSplit_>
struct GemmS8SplitTraits : GemmS8StreamTraits<kTokens_, kStages_, 1> {
  using Stream = GemmS8StreamTraits<kTokens_, kStages_, 1>;
  static constexpr int kSplit = kSplit_;
  static constexpr int kMathThreads = 256;
  static_assert(kMathThreads * 4 * Stream::kRegisters <= kStages_ * Stream::kStageBytes,
                "accumulators fit into the stages");
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Where four accumulators of a math thread lie: those of tokens 8 j to 8 j + 7.
__device__ __forceinline__ uint4* SplitSlot(uint8_t* stages, int j) {
  return reinterpret_cast<uint4*>(stages) + j * 256 + threadIdx.x;
}

// The math threads' products over this block's part of k, left in shared memory.
template <typename Traits>
__device__ __forceinline__ void MultiplySplit(int m, int count, uint8_t* stages, uint64_t* full,
                                              uint64_t* empty) {
  int32_t acc[Traits::kRegisters];
  int stage = 0;
  uint32_t parity = 0;
  if (count > 0) {
    MultiplySegment<Traits>(acc, count, static_cast<int>(threadIdx.x) / 128, stages, full, empty,
                            &stage, &parity);
  } else {
#pragma unroll
    for (int i = 0; i < Traits::kRegisters; ++i) acc[i] = 0;
  }
  NamedBarrierSync(3, Traits::kMathThreads);  // both warpgroups have read the stages
#pragma unroll
  for (int j = 0; j < Traits::kTokens / 8; ++j) {
    if (8 * j >= m) break;
    *SplitSlot(stages, j) = make_uint4(acc[4 * j], acc[4 * j + 1], acc[4 * j + 2], acc[4 * j + 3]);
  }
}

// The same product without its first tokens.
__device__ __forceinline__ GemmS8StreamArgs SkipTokens(GemmS8StreamArgs args, int tokens) {
  args.m -= tokens;
  args.token_scale += tokens;
  args.y += tokens * args.y_row_stride;
  if (args.residual != nullptr) args.residual += tokens * args.residual_row_stride;
  args.accumulators += static_cast<int64_t>(tokens) * args.n;
  return args;
}

// Adds up all blocks' accumulators of this block's tokens, and writes them.
template <typename Traits, bool kRaw>
__device__ __forceinline__ void FinishSplit(const GemmS8StreamArgs& args, int tile, int rank,
                                            uint8_t* stages) {
  using EightTokens = GemmS8StreamTraits<8, 1, 1>;
  const int row0 = tile * Traits::kRows + 64 * static_cast<int>(threadIdx.x / 128);
  const int token_blocks = (args.m + 7) / 8;
  const int end = (rank + 1) * token_blocks / Traits::kSplit;
  for (int j = rank * token_blocks / Traits::kSplit; j < end; ++j) {
    uint4 parts[Traits::kSplit];
#pragma unroll
    for (int block = 0; block < Traits::kSplit; ++block) {
      parts[block] = LoadCluster16(SplitSlot(stages, j), block);
    }
    int32_t sum[4] = {};
#pragma unroll
    for (int block = 0; block < Traits::kSplit; ++block) {
      sum[0] += static_cast<int32_t>(parts[block].x);
      sum[1] += static_cast<int32_t>(parts[block].y);
      sum[2] += static_cast<int32_t>(parts[block].z);
      sum[3] += static_cast<int32_t>(parts[block].w);
    }
    if constexpr (kRaw) {
      WriteAccumulators<EightTokens>(sum, SkipTokens(args, 8 * j), row0);
    } else {
      WriteRows<EightTokens>(sum, SkipTokens(args, 8 * j), row0);
    }
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <typename Traits, bool kRaw>
__global__ void __launch_bounds__(Traits::kThreads, 1)
    GemmS8SplitKernel(const __grid_constant__ CUtensorMap map_a,
                      const __grid_constant__ CUtensorMap map_w, const GemmS8StreamArgs args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ uint8_t shared[];
  uint8_t* stages = shared + (1024 - SmemAddress(shared) % 1024) % 1024;
  uint64_t* full = reinterpret_cast<uint64_t*>(stages + Traits::kStages * Traits::kStageBytes);
  uint64_t* empty = full + Traits::kStages;

  if (threadIdx.x == 0) {
    TmaPrefetchDescriptor(&map_a);
    TmaPrefetchDescriptor(&map_w);
    for (int i = 0; i < Traits::kStages; ++i) {
      MbarrierInit(&full[i], 1);
      MbarrierInit(&empty[i], 8);  // eight math warps
    }
    MbarrierInitFence();
  }
  __syncthreads();
  LetNextKernelStart();

  const int tile = static_cast<int>(blockIdx.x) / Traits::kSplit;
  const int rank = static_cast<int>(ClusterRank());
  const int k_blocks = (args.k + Traits::kBlockK - 1) / Traits::kBlockK;
  const int first = rank * k_blocks / Traits::kSplit;
  const int count = (rank + 1) * k_blocks / Traits::kSplit - first;
  const int start = tile * k_blocks + first;
  const bool is_math = threadIdx.x < Traits::kMathThreads;
  if (is_math) {
    WaitForPriorKernels();
    MultiplySplit<Traits>(args.m, count, stages, full, empty);
  } else if (threadIdx.x == Traits::kMathThreads) {
    StreamLoads<Traits>(map_a, map_w, k_blocks, start, start + count, stages, full, empty);
  } else if (threadIdx.x < Traits::kMathThreads + 32) {
    PrefetchScales<Traits>(args, k_blocks, start, start + count);
  }
  __syncwarp();
  ClusterSync();  // all blocks' accumulators are in place
  if (is_math) FinishSplit<Traits, kRaw>(args, tile, rank, stages);
  __syncwarp();
  ClusterSync();  // none is read any more
#endif
}

}  // namespace pingti::kernels
