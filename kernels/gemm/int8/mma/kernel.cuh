// int8 W8A8 GEMM on mma.sync: the formula of gemm_s8.h for sm_80 and later, any m.
//
//   a [m, k] s8, w [n, k] s8, y [m, n] bf16, all row-major; s32 accumulation, exact.
// Mapping: stream-K over tiles of kBlockM x 128 in steps of 128 k (common/stream_k.h), one block an
//   SM, so that few tiles still fill the device. Eight warps, kWarpsM x kWarpsN; cut tiles are
//   finished by whichever block comes last (common/join_partials.cuh).
// Shared memory: three stages of swizzled 128-byte rows, 96 KB at most, which sm_86 and sm_89 have
// too. Bound: mma.sync's s8 rate for large m, n k bytes over memory bandwidth for small m. Source:
// PTX ISA (mma.sync, ldmatrix, cp.async).
#pragma once

#include <cstdint>

#include "kernels/common/cp_async.cuh"
#include "kernels/common/mma_sm80.cuh"
#include "kernels/gemm/common/join_partials.cuh"
#include "kernels/gemm/common/stream_k.h"
#include "kernels/gemm/int8/epilogue.cuh"
#include "kernels/gemm/int8/mma/launch.h"

namespace pingti::kernels {

template <int kBlockM_>
struct GemmS8MmaTraits {
  static constexpr int kBlockM = kBlockM_;
  static constexpr int kBlockN = 128;
  static constexpr int kBlockK = 128;  // bytes
  static constexpr int kStages = 3;
  static constexpr int kThreads = 256;
  static constexpr int kWarpsM = kBlockM >= 64 ? 2 : 1;
  static constexpr int kWarpsN = 8 / kWarpsM;
  static constexpr int kSlabsM = kBlockM / kWarpsM / 16;  // 16-row slabs per warp
  static constexpr int kSlabsN = kBlockN / kWarpsN / 16;  // 16-column slabs per warp
  static constexpr int kRegisters = kSlabsM * kSlabsN * 8;
  static constexpr int kABytes = kBlockM * kBlockK;
  static constexpr int kStageBytes = kABytes + kBlockN * kBlockK;
  static constexpr int kSharedBytes = kStages * kStageBytes + 16;
  static_assert(kSharedBytes <= 99 * 1024, "what a block may have on sm_86");
};

// Rows of 128 bytes; 16-byte column c of row r sits at c ^ (r % 8), so that ldmatrix's eight rows
// lie in different banks.
__device__ __forceinline__ int MmaOffset(int row, int column) {
  return row * 128 + 16 * (column ^ (row % 8));
}

// Copies kRows x 128 bytes of a row-major s8 matrix [rows, k] at (row0, k0).
template <int kRows, int kThreads>
__device__ __forceinline__ void CopyRows(uint8_t* smem, const int8_t* source, int64_t row_stride,
                                         int rows, int k, int row0, int k0) {
#pragma unroll
  for (int i = 0; i < (kRows * 8 + kThreads - 1) / kThreads; ++i) {
    const int index = i * kThreads + threadIdx.x;
    const int row = index / 8;
    const int column = index % 8;
    if (kRows * 8 % kThreads != 0 && row >= kRows) break;
    const bool inside = row0 + row < rows && k0 + 16 * column < k;
    CpAsync16(smem + MmaOffset(row, column),
              source + (inside ? (row0 + row) * row_stride + k0 + 16 * column : 0), inside);
  }
}

// acc += a w^T over one stage.
template <typename Traits>
__device__ __forceinline__ void MultiplyStage(int32_t (&acc)[Traits::kRegisters],
                                              const uint8_t* stage) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int row_m = warp / Traits::kWarpsN * (16 * Traits::kSlabsM);
  const int row_n = warp % Traits::kWarpsN * (16 * Traits::kSlabsN);
#pragma unroll
  for (int step = 0; step < Traits::kBlockK / 32; ++step) {
    uint32_t b[Traits::kSlabsN]
              [4];  // (n 0-7, k 0-15), (n 0-7, k 16-31), (n 8-15, ..), (n 8-15, ..)
#pragma unroll
    for (int j = 0; j < Traits::kSlabsN; ++j) {
      const int row = row_n + 16 * j + lane % 8 + lane / 16 * 8;
      LoadMatrix4(b[j], stage + Traits::kABytes + MmaOffset(row, 2 * step + lane / 8 % 2));
    }
#pragma unroll
    for (int i = 0; i < Traits::kSlabsM; ++i) {
      uint32_t a[4];  // (m 0-7, k 0-15), (m 8-15, k 0-15), (m 0-7, k 16-31), (m 8-15, k 16-31)
      LoadMatrix4(a, stage + MmaOffset(row_m + 16 * i + lane % 16, 2 * step + lane / 16));
#pragma unroll
      for (int j = 0; j < Traits::kSlabsN; ++j) {
        int32_t* d = &acc[(i * Traits::kSlabsN + j) * 8];
        Mma16832(d, a, b[j][0], b[j][1]);
        Mma16832(d + 4, a, b[j][2], b[j][3]);
      }
    }
  }
}

// Writes a finished tile at (row0, col0): y, or the accumulators as they are.
template <typename Traits>
__device__ __forceinline__ void WriteMmaTile(const int32_t (&acc)[Traits::kRegisters],
                                             const GemmS8Params& p, int row0, int col0) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  row0 += warp / Traits::kWarpsN * (16 * Traits::kSlabsM) + lane / 4;
  col0 += warp % Traits::kWarpsN * (16 * Traits::kSlabsN) + 2 * (lane % 4);
#pragma unroll
  for (int r = 0; r < Traits::kRegisters; r += 2) {
    const int slab_m = r / (8 * Traits::kSlabsN);
    const int slab_n = r / 8 % Traits::kSlabsN;
    const int row = row0 + 16 * slab_m + 8 * (r / 2 % 2);
    const int col = col0 + 16 * slab_n + 8 * (r / 4 % 2);
    if (row >= p.m || col >= p.n) continue;  // n is even
    if (p.accumulators != nullptr) {
      *reinterpret_cast<int2*>(p.accumulators + static_cast<int64_t>(row) * p.n + col) =
          make_int2(acc[r], acc[r + 1]);
      continue;
    }
    float2 addend = p.bias != nullptr ? LoadBf16Pair(p.bias + col) : make_float2(0.0f, 0.0f);
    if (p.residual != nullptr) {
      const float2 residual = LoadBf16Pair(p.residual + row * p.residual_row_stride + col);
      addend.x += residual.x;
      addend.y += residual.y;
    }
    const float2 channel_scale = *reinterpret_cast<const float2*>(p.channel_scale + col);
    *reinterpret_cast<uint32_t*>(p.y + row * p.y_row_stride + col) =
        ScalePair(acc[r], acc[r + 1], p.token_scale[row], channel_scale, addend);
  }
}

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, 1) GemmS8MmaKernel(const GemmS8Params p) {
  extern __shared__ __align__(16) uint8_t shared[];
  const int k_blocks = (p.k + Traits::kBlockK - 1) / Traits::kBlockK;
  const int m_tiles = (p.m + Traits::kBlockM - 1) / Traits::kBlockM;
  const int n_tiles = (p.n + Traits::kBlockN - 1) / Traits::kBlockN;
  const StreamK split = {m_tiles * n_tiles * k_blocks, static_cast<int>(gridDim.x)};
  const int start = split.Start(blockIdx.x);
  const int end = split.Start(blockIdx.x + 1);
  const auto stage_of = [&](int unit) {
    return shared + (unit - start) % Traits::kStages * Traits::kStageBytes;
  };
  // Tokens run fastest, so that a weight tile is reread while it is in the L2.
  const auto load = [&](int unit) {
    const int tile = unit / k_blocks;
    const int k0 = unit % k_blocks * Traits::kBlockK;
    CopyRows<Traits::kBlockM, Traits::kThreads>(stage_of(unit), p.a, p.a_row_stride, p.m, p.k,
                                                tile % m_tiles * Traits::kBlockM, k0);
    CopyRows<Traits::kBlockN, Traits::kThreads>(stage_of(unit) + Traits::kABytes, p.w,
                                                p.w_row_stride, p.n, p.k,
                                                tile / m_tiles * Traits::kBlockN, k0);
  };
#pragma unroll
  for (int i = 0; i < Traits::kStages - 1; ++i) {
    if (start + i < end) load(start + i);
    CpAsyncCommit();  // empty groups keep the count
  }

  const PartialJoiner<int32_t, Traits::kRegisters, Traits::kThreads, 1> joiner = {
      static_cast<uint32_t*>(p.workspace),
      reinterpret_cast<int32_t*>(static_cast<uint8_t*>(p.workspace) + kGemmS8MmaCounterBytes),
      reinterpret_cast<volatile uint32_t*>(shared + Traits::kStages * Traits::kStageBytes),
      static_cast<int>(blockIdx.x),
      0,
      static_cast<int>(threadIdx.x),
      1};
  for (int unit = start; unit < end;) {
    const int tile = unit / k_blocks;
    const int tile_end = (tile + 1) * k_blocks;
    const int segment_end = min(end, tile_end);
    const bool whole_here = unit == tile * k_blocks && segment_end == tile_end;
    const bool worked_before = unit > start;
    int32_t acc[Traits::kRegisters];
#pragma unroll
    for (int i = 0; i < Traits::kRegisters; ++i) acc[i] = 0;
    for (; unit < segment_end; ++unit) {
      // This stage has landed for every thread, and every thread is done with the one before it,
      // which is the one refilled next.
      CpAsyncWait<Traits::kStages - 2>();
      __syncthreads();
      if (unit + Traits::kStages - 1 < end) load(unit + Traits::kStages - 1);
      CpAsyncCommit();
      MultiplyStage<Traits>(acc, stage_of(unit));
    }
    if (whole_here ||
        joiner.Join(acc, split.Owner(tile * k_blocks), split.Owner(tile_end - 1), worked_before)) {
      WriteMmaTile<Traits>(acc, p, tile % m_tiles * Traits::kBlockM,
                           tile / m_tiles * Traits::kBlockN);
    }
  }
}

}  // namespace pingti::kernels
