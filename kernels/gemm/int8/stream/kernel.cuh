// int8 W8A8 GEMM for decode (m <= 256): the formula of gemm_s8.h with the operands swapped, so that
// 128 weight rows fill wgmma's M and the few tokens are its N.
//
//   a [m, k] s8, w [n, k] s8, y [m, n] bf16, all row-major; accumulation in s32, exact, so the
//   order in which partial sums meet cannot change the result: any split is deterministic.
// Mapping: stream-K. One block per SM; the k-blocks of all 128-row tiles form one line that is cut
//   into equal ranges (common/stream_k.h). One warp loads; two warpgroups of math own 64 rows each.
//   In clusters of two, the pair works on neighbouring tiles and multicasts the tokens they share.
//   A tile cut by a range border is finished by whichever block comes last
//   (common/join_partials.cuh).
// Shared memory: kStages x (128 + kTokens) x 128 B, as deep as 227 KB allow: the bytes in flight,
//   not the arithmetic, decide the speed.
// Bound: n k bytes of weights once over memory bandwidth; tokens come out of L2.
// sm_90a only. Source: PTX ISA (wgmma, TMA, mbarrier, griddepcontrol, movmatrix).
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/tma.cuh"
#include "kernels/common/wgmma_desc.cuh"
#include "kernels/common/wgmma_s8.cuh"
#include "kernels/gemm/common/join_partials.cuh"
#include "kernels/gemm/common/stream_k.h"
#include "kernels/gemm/common/token_major.cuh"
#include "kernels/gemm/int8/stream/launch.h"

namespace pingti::kernels {

template <int kTokens_, int kStages_, int kCluster_>
struct GemmS8StreamTraits {
  static constexpr int kTokens = kTokens_;
  static constexpr int kStages = kStages_;
  static constexpr int kCluster = kCluster_;  // blocks that share their tokens: 1 or 2
  static constexpr int kRows = 128;           // weight rows per tile
  static constexpr int kBlockK = 128;         // bytes: one swizzle row
  static constexpr int kRegisters = kTokens / 2;
  // Accumulators of more than 64 registers take those of a loading warpgroup; with fewer, a warp
  // is enough to load.
  static constexpr bool kMovesRegisters = kRegisters > 64;
  static constexpr int kThreads = kMovesRegisters ? 384 : 288;  // two math warpgroups first
  static constexpr int kWBytes = kRows * kBlockK;
  static constexpr int kABytes = kTokens * kBlockK;
  static constexpr int kStageBytes = kWBytes + kABytes;
  static constexpr int kSharedBytes = kStages * kStageBytes + 16 * kStages + 16 + 1024;
  static_assert(kTokens % (8 * kCluster) == 0 && kTokens <= kGemmS8StreamMaxTokens, "wgmma's N");
  static_assert(kSharedBytes <= 232448, "227 KB is what a block may have");
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Releases a stage to the loaders of every block that fills it: one lane a block.
template <typename Traits>
__device__ __forceinline__ void ReleaseStage(uint64_t* empty, int lane) {
  if constexpr (Traits::kCluster == 1) {
    if (lane == 0) MbarrierArrive(empty);
  } else {
    if (lane < Traits::kCluster) MbarrierArriveCluster(empty, lane);
  }
}

// The loading thread's whole life. Weights do not depend on the kernel before this one, so the
// first stages' weights are on their way before that kernel has finished.
template <typename Traits>
__device__ __forceinline__ void StreamLoads(const CUtensorMap& map_a, const CUtensorMap& map_w,
                                            int k_blocks, int start, int end, uint8_t* stages,
                                            uint64_t* full, uint64_t* empty) {
  constexpr int kPart = Traits::kTokens / Traits::kCluster;
  const int rank = Traits::kCluster > 1 ? ClusterRank() : 0;
  const uint64_t weight_policy = L2EvictFirst();
  const uint64_t token_policy = L2EvictLast();
  const auto load_w = [&](int unit, int stage) {
    MbarrierArriveExpectBytes(&full[stage], Traits::kStageBytes);
    TmaLoad2d(stages + stage * Traits::kStageBytes, &map_w, &full[stage],
              unit % k_blocks * Traits::kBlockK,
              (unit / k_blocks * Traits::kCluster + rank) * Traits::kRows, weight_policy);
  };
  const auto load_a = [&](int unit, int stage) {
    uint8_t* a = stages + stage * Traits::kStageBytes + Traits::kWBytes;
    const int k0 = unit % k_blocks * Traits::kBlockK;
    if constexpr (Traits::kCluster == 1) {
      TmaLoad2d(a, &map_a, &full[stage], k0, 0, token_policy);
    } else {
      TmaLoad2dMulticast(a + rank * kPart * Traits::kBlockK, &map_a, &full[stage], k0, rank * kPart,
                         (1 << Traits::kCluster) - 1, token_policy);
    }
  };
  const int ahead = min(Traits::kStages, end - start);
  for (int i = 0; i < ahead; ++i) load_w(start + i, i);
  WaitForPriorKernels();
  for (int i = 0; i < ahead; ++i) load_a(start + i, i);
  int stage = 0;
  uint32_t parity = 0;
  for (int unit = start + ahead; unit < end; ++unit) {
    MbarrierWait(&empty[stage], parity);
    load_w(unit, stage);
    load_a(unit, stage);
    if (++stage == Traits::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
  // No block leaves while its peer may still signal its barriers.
  if constexpr (Traits::kCluster > 1) {
    for (int i = 0; i < ahead; ++i) {
      MbarrierWait(&empty[stage], parity);
      if (++stage == Traits::kStages) {
        stage = 0;
        parity ^= 1;
      }
    }
  }
}

// Scales and biases of the tiles that this block has a part of, by the loading warp's other lanes.
template <typename Traits>
__device__ __forceinline__ void PrefetchScales(const GemmS8StreamArgs& args, int k_blocks,
                                               int start, int end) {
  constexpr int kLine = 128;
  constexpr int kScaleLines = Traits::kRows * 4 / kLine;
  constexpr int kBiasLines = Traits::kRows * 2 / kLine;
  const int rank = Traits::kCluster > 1 ? ClusterRank() : 0;
  const int line = static_cast<int>(threadIdx.x % 32) - 1;
  if (args.channel_scale == nullptr || line >= kScaleLines + kBiasLines) return;
  for (int tile = start / k_blocks; tile * k_blocks < end; ++tile) {
    const int row0 = (tile * Traits::kCluster + rank) * Traits::kRows;
    const int row =
        row0 + (line < kScaleLines ? line * kLine / 4 : (line - kScaleLines) * kLine / 2);
    if (row >= args.n) continue;
    if (line < kScaleLines) {
      PrefetchLine(args.channel_scale + row);
    } else if (args.bias != nullptr) {
      PrefetchLine(args.bias + row);
    }
  }
}

// One warpgroup's products over k-blocks [0, count) of a segment: acc[64 rows, kTokens].
template <typename Traits>
__device__ __forceinline__ void MultiplySegment(int32_t (&acc)[Traits::kRegisters], int count,
                                                int warpgroup, uint8_t* stages, uint64_t* full,
                                                uint64_t* empty, int* stage, uint32_t* parity) {
  const int lane = threadIdx.x % 32;
  int previous = -1;
  for (int kb = 0; kb < count; ++kb) {
    MbarrierWait(&full[*stage], *parity);
    const uint8_t* w = stages + *stage * Traits::kStageBytes;
    const uint64_t w_descriptor = MakeKMajorDescriptor128B(w + warpgroup * 64 * Traits::kBlockK);
    const uint64_t a_descriptor = MakeKMajorDescriptor128B(w + Traits::kWBytes);
    WgmmaFence();
#pragma unroll
    for (int step = 0; step < Traits::kBlockK / 32; ++step) {
      WgmmaS8<Traits::kTokens>::Run(acc, w_descriptor + 2 * step, a_descriptor + 2 * step,
                                    kb > 0 || step > 0);
    }
    WgmmaCommit();
    WgmmaWait<1>();
    if (previous >= 0) ReleaseStage<Traits>(&empty[previous], lane);
    previous = *stage;
    if (++*stage == Traits::kStages) {
      *stage = 0;
      *parity ^= 1;
    }
  }
  WgmmaWait<0>();
#pragma unroll
  for (int i = 0; i < Traits::kRegisters; ++i) WgmmaFenceRegister(acc[i]);
  ReleaseStage<Traits>(&empty[previous], lane);
}

// Scales one warpgroup's accumulators and writes y.
template <typename Traits>
__device__ __forceinline__ void WriteRows(const int32_t (&acc)[Traits::kRegisters],
                                          const GemmS8StreamArgs& args, int row0) {
  const int lane = threadIdx.x % 32;
  const int slab = row0 + 16 * (threadIdx.x % 128 / 32);
  float scales[2] = {};  // loads of both halves go out together
  float biases[2] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = slab + 8 * half + lane / 4;
    if (row >= args.n) continue;
    scales[half] = __ldg(args.channel_scale + row);
    if (args.bias != nullptr) biases[half] = __bfloat162float(args.bias[row]);
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int base = slab + 8 * half;
    if (base >= args.n) continue;  // n is a multiple of 8
    const float channel_scale = scales[half];
    const float bias = biases[half];
#pragma unroll
    for (int j = 0; j < Traits::kTokens / 8; ++j) {
      if (8 * j >= args.m) break;
      const int token = 8 * j + 2 * (lane % 4);
      const float scale0 = token < args.m ? __ldg(args.token_scale + token) : 0.0f;
      const float scale1 = token + 1 < args.m ? __ldg(args.token_scale + token + 1) : 0.0f;
      float2 addend = make_float2(bias, bias);
      if (args.residual != nullptr) {
        const float2 residual =
            LoadTokenMajor(args.residual, args.residual_row_stride, args.m, 8 * j, base);
        addend.x += residual.x;
        addend.y += residual.y;
      }
      const float acc0 = static_cast<float>(acc[4 * j + 2 * half]);
      const float acc1 = static_cast<float>(acc[4 * j + 2 * half + 1]);
      StoreTokenMajor(args.y, args.y_row_stride, args.m, 8 * j, base,
                      fmaf(acc0 * scale0, channel_scale, addend.x),
                      fmaf(acc1 * scale1, channel_scale, addend.y));
    }
  }
}

// Writes one warpgroup's accumulators as they are.
template <typename Traits>
__device__ __forceinline__ void WriteAccumulators(const int32_t (&acc)[Traits::kRegisters],
                                                  const GemmS8StreamArgs& args, int row0) {
  const int lane = threadIdx.x % 32;
  const int row = row0 + 16 * (threadIdx.x % 128 / 32) + lane / 4;
#pragma unroll
  for (int i = 0; i < Traits::kRegisters; ++i) {
    const int token = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
    const int r = row + 8 * (i / 2 % 2);
    if (token < args.m && r < args.n) {
      args.accumulators[static_cast<int64_t>(token) * args.n + r] = acc[i];
    }
  }
}

// One math warpgroup's whole life: segment after segment of this block's range.
template <typename Traits, bool kRaw>
__device__ __forceinline__ void StreamMath(const GemmS8StreamArgs& args, const StreamK& split,
                                           int k_blocks, int start, int end, uint8_t* stages,
                                           uint64_t* full, uint64_t* empty,
                                           volatile uint32_t* shared_answer) {
  const int warpgroup = threadIdx.x / 128;
  const int rank = Traits::kCluster > 1 ? ClusterRank() : 0;
  const PartialJoiner<int32_t, Traits::kRegisters, 128, 2 * Traits::kCluster> joiner = {
      args.counters,
      args.partials,
      shared_answer + warpgroup,
      static_cast<int>(blockIdx.x) / Traits::kCluster,
      2 * rank + warpgroup,
      static_cast<int>(threadIdx.x % 128),
      1 + warpgroup};
  int stage = 0;
  uint32_t parity = 0;
  for (int unit = start; unit < end;) {
    const int tile = unit / k_blocks;
    const int tile_end = (tile + 1) * k_blocks;
    const int segment_end = min(end, tile_end);
    int32_t acc[Traits::kRegisters];
    MultiplySegment<Traits>(acc, segment_end - unit, warpgroup, stages, full, empty, &stage,
                            &parity);
    bool whole = true;
    if (unit != tile * k_blocks || segment_end != tile_end) {
      whole =
          joiner.Join(acc, split.Owner(tile * k_blocks), split.Owner(tile_end - 1), unit > start);
    }
    if (whole) {
      const int row0 = (tile * Traits::kCluster + rank) * Traits::kRows + 64 * warpgroup;
      if constexpr (kRaw) {
        WriteAccumulators<Traits>(acc, args, row0);
      } else {
        WriteRows<Traits>(acc, args, row0);
      }
    }
    unit = segment_end;
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <typename Traits, bool kRaw>
__global__ void __launch_bounds__(Traits::kThreads, 1)
    GemmS8StreamKernel(const __grid_constant__ CUtensorMap map_a,
                       const __grid_constant__ CUtensorMap map_w, const GemmS8StreamArgs args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ uint8_t shared[];
  uint8_t* stages = shared + (1024 - SmemAddress(shared) % 1024) % 1024;
  uint64_t* full = reinterpret_cast<uint64_t*>(stages + Traits::kStages * Traits::kStageBytes);
  uint64_t* empty = full + Traits::kStages;
  volatile uint32_t* shared_answer = reinterpret_cast<uint32_t*>(empty + Traits::kStages);

  if (threadIdx.x == 0) {
    TmaPrefetchDescriptor(&map_a);
    TmaPrefetchDescriptor(&map_w);
    for (int i = 0; i < Traits::kStages; ++i) {
      MbarrierInit(&full[i], 1);
      MbarrierInit(&empty[i], 8 * Traits::kCluster);  // eight math warps of each block
    }
    MbarrierInitFence();
  }
  if constexpr (Traits::kCluster > 1) {
    ClusterSync();
  } else {
    __syncthreads();
  }
  LetNextKernelStart();

  const int k_blocks = (args.k + Traits::kBlockK - 1) / Traits::kBlockK;
  constexpr int kTileRows = Traits::kRows * Traits::kCluster;
  const StreamK split = {(args.n + kTileRows - 1) / kTileRows * k_blocks,
                         static_cast<int>(gridDim.x) / Traits::kCluster};
  const int owner = blockIdx.x / Traits::kCluster;
  const int start = split.Start(owner);
  const int end = split.Start(owner + 1);
  if (threadIdx.x >= 256) {
    if constexpr (Traits::kMovesRegisters) DecreaseRegisters<40>();
    if (threadIdx.x == 256) {
      StreamLoads<Traits>(map_a, map_w, k_blocks, start, end, stages, full, empty);
    } else if (threadIdx.x < 288) {
      PrefetchScales<Traits>(args, k_blocks, start, end);
    }
  } else {
    if constexpr (Traits::kMovesRegisters) IncreaseRegisters<232>();
    WaitForPriorKernels();
    StreamMath<Traits, kRaw>(args, split, k_blocks, start, end, stages, full, empty, shared_answer);
  }
#endif
}

}  // namespace pingti::kernels
