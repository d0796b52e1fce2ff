// int8 W8A8 GEMM for prefill: y = bf16(s32(a w^T) * token_scale * channel_scale + bias + residual).
//
//   a [m, k] s8 row-major, w [n, k] s8 row-major, y [m, n] bf16 row-major; scales f32; see
//   include/pingti/kernels/gemm_s8.h for strides and alignments. s32 accumulation, exact; the
//   epilogue is f32, so y is within one bf16 ulp of the float64 result where nothing cancels.
// Mapping: persistent blocks of three warpgroups in clusters of kCluster along m. Warpgroup 0 loads
//   (one thread): its own a tile and 1/kCluster of the shared w tile, multicast to the cluster.
//   Warpgroups 1 and 2 each own 64 rows of the 128 x kBlockN tile, accumulators in registers. They
//   do not wait for each other, so one's epilogue overlaps the other's products, and the loader
//   runs ahead into the next tile during both.
// Shared memory: kStages x (128 + kBlockN) x 128 B, two staging buffers a warpgroup for the stores.
// Bound: 2 m n k operations over the s8 wgmma rate (1,978 TOP/s measured on an H100 without loads).
// sm_90a only. Source: PTX ISA (wgmma, TMA, mbarrier). Read next: gemm/common/wgmma_tile.cuh (the
//   products), launch.h (the variants).
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/tma.cuh"
#include "kernels/gemm/common/wgmma_tile.cuh"
#include "kernels/gemm/int8/epilogue.cuh"
#include "kernels/gemm/int8/tile/launch.h"

namespace pingti::kernels {

template <int kBlockN_, int kStages_, int kCluster_>
struct GemmS8TileTraits {
  using Element = int8_t;
  using Sum = int32_t;
  static constexpr bool kThreadsCopy = false;
  static constexpr int kBlockM = 128;
  static constexpr int kBlockN = kBlockN_;
  static constexpr int kInstructionN = kBlockN;
  static constexpr int kBlockK = 128;  // bytes: one swizzle row
  static constexpr int kStages = kStages_;
  static constexpr int kCluster = kCluster_;
  static constexpr int kThreads = 384;
  // Columns per output store: one 128-byte (or 64-byte) swizzle row of bf16.
  static constexpr int kStoreN = kBlockN % 64 == 0 ? 64 : 32;

  static constexpr int kABytes = kBlockM * kBlockK;
  static constexpr int kWBytes = kBlockN * kBlockK;
  static constexpr int kStageBytes = kABytes + kWBytes;
  static constexpr int kStoreBytes = 64 * kStoreN * 2;
  static constexpr int kSharedBytes = kStages * kStageBytes + 4 * kStoreBytes + 16 * kStages + 1024;

  static_assert(kBlockN % 32 == 0 && kBlockN <= 256, "store boxes are 32 or 64 columns wide");
  // Pairs of SMs share a part of the chip everywhere; larger clusters leave some SMs without one,
  // and clusters of four measured slower than pairs on an H100.
  static_assert(kCluster == 1 || kCluster == 2);
  static_assert(kBlockN / kCluster % 8 == 0, "a multicast part is whole swizzle groups of 8 rows");
  static_assert(kSharedBytes <= 232448, "227 KB is what a block may have");
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// The loader's whole life: fills stage after stage, for every tile of this block. Weights do not
// depend on the kernel before this one, so those of the first stages are on their way before it has
// finished.
template <typename Traits>
__device__ __forceinline__ void LoadTiles(const CUtensorMap& map_a, const CUtensorMap& map_w,
                                          const GemmS8TileArgs& args, const TileWalk& walk,
                                          uint8_t* stages, uint64_t* full, uint64_t* empty) {
  constexpr int kPart = Traits::kBlockN / Traits::kCluster;
  const uint32_t rank = Traits::kCluster > 1 ? ClusterRank() : 0;
  const uint64_t policy = L2EvictNormal();
  const int k_blocks = (args.k + Traits::kBlockK - 1) / Traits::kBlockK;
  const auto load_w = [&](int n_tile, int kb, int stage) {
    uint8_t* w = stages + stage * Traits::kStageBytes + Traits::kABytes;
    const int row_w = n_tile * Traits::kBlockN + rank * kPart;
    MbarrierArriveExpectBytes(&full[stage], Traits::kStageBytes);
    if constexpr (Traits::kCluster > 1) {
      TmaLoad2dMulticast(w + rank * kPart * Traits::kBlockK, &map_w, &full[stage],
                         kb * Traits::kBlockK, row_w, (1 << Traits::kCluster) - 1, policy);
    } else {
      TmaLoad2d(w, &map_w, &full[stage], kb * Traits::kBlockK, row_w, policy);
    }
  };
  RingPlace<Traits::kStages> place = {0, 1};
  bool is_first = true;
  for (int index = blockIdx.x / Traits::kCluster; index < walk.m_tiles * walk.n_tiles;
       index += gridDim.x / Traits::kCluster) {
    int m_tile;
    int n_tile;
    walk.At(index, &m_tile, &n_tile);
    int ahead = 0;  // k-blocks whose weights are on their way already
    if (is_first) {
      for (; ahead < min(Traits::kStages, k_blocks); ++ahead) load_w(n_tile, ahead, ahead);
      WaitForPriorKernels();
      is_first = false;
    }
    const int row_a = (m_tile * Traits::kCluster + rank) * Traits::kBlockM;
    for (int kb = 0; kb < k_blocks; ++kb) {
      // Both blocks' math warps have read what this stage held: the multicast may overwrite it.
      MbarrierWait(&empty[place.stage], place.parity);
      if (kb >= ahead) load_w(n_tile, kb, place.stage);
      uint8_t* a = stages + place.stage * Traits::kStageBytes;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        // Zero-filling rows that do not exist is slow: reread the first ones, whose results the
        // store clips away just the same.
        const int row = row_a + 64 * half;
        TmaLoad2d(a + half * 64 * Traits::kBlockK, &map_a, &full[place.stage], kb * Traits::kBlockK,
                  row < args.m ? row : 0, policy);
      }
      place.Advance();
    }
  }
  DrainStages<Traits>(empty, &place);
}

// Scales one warpgroup's 64 x kBlockN accumulators and stores them through two staging buffers.
template <typename Traits>
__device__ __forceinline__ void StoreTile(const int32_t (&acc)[Traits::kBlockN / 2],
                                          const CUtensorMap& map_y, const GemmS8TileArgs& args,
                                          int row0, int col0, int warpgroup, uint8_t* staging) {
  constexpr int kStoreN = Traits::kStoreN;
  const int thread = threadIdx.x % 128;
  const int warp = thread / 32;
  const int lane = thread % 32;
  const int row = row0 + 16 * warp + lane / 4;  // and row + 8
  const float token_scale0 = row < args.m ? __ldg(args.token_scale + row) : 0.0f;
  const float token_scale1 = row + 8 < args.m ? __ldg(args.token_scale + row + 8) : 0.0f;

#pragma unroll
  for (int chunk = 0; chunk < Traits::kBlockN / kStoreN; ++chunk) {
    const int chunk_col = col0 + chunk * kStoreN;
    float2 scale[kStoreN / 8];
    float2 bias[kStoreN / 8];
#pragma unroll
    for (int j = 0; j < kStoreN / 8; ++j) {
      const int col = chunk_col + 8 * j + 2 * (lane % 4);
      const bool inside = col < args.n;
      scale[j] = inside ? __ldg(reinterpret_cast<const float2*>(args.channel_scale + col))
                        : make_float2(0.0f, 0.0f);
      bias[j] =
          inside && args.bias != nullptr ? LoadBf16Pair(args.bias + col) : make_float2(0.0f, 0.0f);
    }
    uint8_t* buffer = staging + (2 * warpgroup + chunk % 2) * Traits::kStoreBytes;
    // The store that last read this buffer is done with it.
    if (thread == 0) BulkWaitRead<1>();
    NamedBarrierSync(1 + warpgroup, 128);
#pragma unroll
    for (int j = 0; j < kStoreN / 8; j += 2) {
      uint32_t packed[4];
#pragma unroll
      for (int h = 0; h < 4; ++h) {  // h = 2 * (which 8 columns) + (which 8 rows)
        const int jj = j + h / 2;
        const int i = (chunk * kStoreN / 8 + jj) * 4 + 2 * (h % 2);
        float2 addend = bias[jj];
        if (args.residual != nullptr) {
          const int r = row + 8 * (h % 2);
          const int col = chunk_col + 8 * jj + 2 * (lane % 4);
          if (r < args.m && col < args.n) {
            const float2 residual =
                LoadBf16Pair(args.residual + r * args.residual_row_stride + col);
            addend.x += residual.x;
            addend.y += residual.y;
          }
        }
        packed[h] = ScalePair(acc[i], acc[i + 1], h % 2 == 0 ? token_scale0 : token_scale1,
                              scale[jj], addend);
      }
      // Lane l addresses row l % 16 of its warp's slab, 16-byte column j + l / 16, swizzled as the
      // tensor map of y expects.
      const int store_row = 16 * warp + lane % 16;
      const int mask = kStoreN == 64 ? store_row % 8 : store_row / 2 % 4;
      StoreMatrix4(buffer + store_row * (kStoreN * 2) + 16 * ((j + lane / 16) ^ mask), packed[0],
                   packed[1], packed[2], packed[3]);
    }
    FenceProxyAsync();
    NamedBarrierSync(1 + warpgroup, 128);
    if (thread == 0) {
      TmaStore2d(&map_y, buffer, chunk_col, row0);
      BulkCommit();
    }
  }
}

// Writes one warpgroup's accumulators as they are.
template <typename Traits>
__device__ __forceinline__ void StoreAccumulators(const int32_t (&acc)[Traits::kBlockN / 2],
                                                  const GemmS8TileArgs& args, int row0, int col0) {
  const int lane = threadIdx.x % 32;
  const int row = row0 + 16 * (threadIdx.x % 128 / 32) + lane / 4;
#pragma unroll
  for (int i = 0; i < Traits::kBlockN / 2; i += 2) {
    const int r = row + 8 * (i / 2 % 2);
    const int col = col0 + 8 * (i / 4) + 2 * (lane % 4);
    if (r < args.m && col < args.n) {
      *reinterpret_cast<int2*>(args.accumulators + static_cast<int64_t>(r) * args.n + col) =
          make_int2(acc[i], acc[i + 1]);
    }
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <typename Traits, bool kRaw>
__global__ void __launch_bounds__(Traits::kThreads, 1)
    GemmS8TileKernel(const __grid_constant__ CUtensorMap map_a,
                     const __grid_constant__ CUtensorMap map_w,
                     const __grid_constant__ CUtensorMap map_y, const GemmS8TileArgs args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ uint8_t shared[];
  uint8_t* stages = shared + (1024 - SmemAddress(shared) % 1024) % 1024;
  uint8_t* staging = stages + Traits::kStages * Traits::kStageBytes;
  uint64_t* full = reinterpret_cast<uint64_t*>(staging + 4 * Traits::kStoreBytes);
  uint64_t* empty = full + Traits::kStages;

  if (threadIdx.x == 0) {
    TmaPrefetchDescriptor(&map_a);
    TmaPrefetchDescriptor(&map_w);
    TmaPrefetchDescriptor(&map_y);
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

  const TileWalk walk = {
      (args.m + Traits::kBlockM * Traits::kCluster - 1) / (Traits::kBlockM * Traits::kCluster),
      (args.n + Traits::kBlockN - 1) / Traits::kBlockN, args.group_m};
  const int role = threadIdx.x / 128;
  if (role == 0) {
    DecreaseRegisters<40>();
    if (threadIdx.x == 0) LoadTiles<Traits>(map_a, map_w, args, walk, stages, full, empty);
  } else {
    IncreaseRegisters<232>();
    WaitForPriorKernels();
    const int warpgroup = role - 1;
    const int k_blocks = (args.k + Traits::kBlockK - 1) / Traits::kBlockK;
    const uint32_t rank = Traits::kCluster > 1 ? ClusterRank() : 0;
    RingPlace<Traits::kStages> place = {0, 0};
    for (int index = blockIdx.x / Traits::kCluster; index < walk.m_tiles * walk.n_tiles;
         index += gridDim.x / Traits::kCluster) {
      int m_tile;
      int n_tile;
      walk.At(index, &m_tile, &n_tile);
      const int row0 = (m_tile * Traits::kCluster + rank) * Traits::kBlockM + 64 * warpgroup;
      const int col0 = n_tile * Traits::kBlockN;
      int32_t acc[Traits::kBlockN / 2];
      MultiplyTile<Traits>(acc, k_blocks, warpgroup, stages, full, empty, &place);
      if constexpr (kRaw) {
        StoreAccumulators<Traits>(acc, args, row0, col0);
      } else {
        StoreTile<Traits>(acc, map_y, args, row0, col0, warpgroup, staging);
      }
    }
    if (threadIdx.x % 128 == 0) BulkWait<0>();
  }
#endif
}

}  // namespace pingti::kernels
