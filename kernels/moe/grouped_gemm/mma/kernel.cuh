// Grouped GEMM on mma.sync: the formula of GroupedGemmParams in moe.h for sm_80 and later.
//
//   x [rows, k], w [experts, n, k], y [rows, n] bf16, all row-major; sums in f32 (bf16) or s32.
// Mapping: grid (n / kBlockCols, experts, row blocks), or, with fewer rows than experts, (n /
//   kBlockCols, rows, 1), where the block of an expert's first row takes the expert. A block takes
//   every row_blocks-th tile of kBlockRows rows of its expert, and returns at once where it has
//   none: the grid depends on sizes alone, and matrices of experts without rows are not read. A
//   row's sum is added in the order of k in every tile size, so it does not depend on the rows
//   beside it.
// Shared memory: kStages stages of swizzled 128-byte rows, filled by cp.async. Elements of 8 and 16
//   bits differ in the product alone: 128 bytes are four steps of 32 bytes of k for both.
// Bound: few rows per expert: bytes of the experts that have rows; many: mma.sync's rate.
// Source: PTX ISA (mma.sync, ldmatrix, cp.async); kernels/gemm/int8/mma, whose tile this is.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/common/cp_async.cuh"
#include "kernels/common/mma_sm80.cuh"
#include "kernels/gemm/int8/mma/kernel.cuh"
#include "kernels/moe/grouped_gemm/mma/launch.h"

namespace pingti::kernels {

template <typename T, int kBlockRows_>
struct GroupedGemmMmaTraits {
  using Sum = std::conditional_t<std::is_same_v<T, int8_t>, int32_t, float>;
  static constexpr int kBlockRows = kBlockRows_;
  // Few rows: narrow tiles and many stages, so that many bytes are on their way.
  static constexpr bool kFew = kBlockRows <= 16;
  static constexpr int kBlockCols = kFew ? 64 : 128;
  static constexpr int kThreads = kFew ? 128 : 256;
  static constexpr int kStages = kFew ? 6 : 3;
  // Two would not leave the largest int8 tile its registers.
  static constexpr int kBlocksPerSm = kBlockRows == 128 && std::is_same_v<T, int8_t> ? 1 : 2;
  static constexpr int kBlockK = 128;  // bytes
  static constexpr int kStepElements = kBlockK / sizeof(T);
  static constexpr int kWarpsM = kFew ? 1 : 2;
  static constexpr int kWarpsN = kThreads / 32 / kWarpsM;
  static constexpr int kSlabsM = kBlockRows / kWarpsM / 16;
  static constexpr int kSlabsN = kBlockCols / kWarpsN / 16;
  static constexpr int kRegisters = kSlabsM * kSlabsN * 8;
  static constexpr int kXBytes = kBlockRows * kBlockK;
  static constexpr int kStageBytes = kXBytes + kBlockCols * kBlockK;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  static_assert(kSharedBytes <= 99 * 1024, "what a block may have on sm_86");
};

// Copies kRows x 128 bytes from k0 (elements) on: row r of the tile from source(r), null: zeros.
template <typename T, int kRows, int kThreads, typename Source>
__device__ __forceinline__ void CopyTile(uint8_t* smem, const void* anywhere, int k, int k0,
                                         const Source& source) {
  constexpr int kVector = 16 / sizeof(T);
#pragma unroll
  for (int i = 0; i < kRows * 8 / kThreads; ++i) {
    const int index = i * kThreads + threadIdx.x;
    const int row = index / 8;
    const int column = index % 8;
    const T* from = source(row);
    const bool inside = from != nullptr && k0 + kVector * column < k;
    CpAsync16(smem + MmaOffset(row, column),
              inside ? static_cast<const void*>(from + k0 + kVector * column) : anywhere, inside);
  }
}

// sum += x w^T over one stage.
template <typename T, typename Traits>
__device__ __forceinline__ void MultiplyGroupedStage(
    typename Traits::Sum (&sum)[Traits::kRegisters], const uint8_t* stage) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int row_m = warp / Traits::kWarpsN * (16 * Traits::kSlabsM);
  const int row_n = warp % Traits::kWarpsN * (16 * Traits::kSlabsN);
#pragma unroll
  for (int step = 0; step < Traits::kBlockK / 32; ++step) {
    uint32_t b[Traits::kSlabsN][4];
#pragma unroll
    for (int j = 0; j < Traits::kSlabsN; ++j) {
      const int row = row_n + 16 * j + lane % 8 + lane / 16 * 8;
      LoadMatrix4(b[j], stage + Traits::kXBytes + MmaOffset(row, 2 * step + lane / 8 % 2));
    }
#pragma unroll
    for (int i = 0; i < Traits::kSlabsM; ++i) {
      uint32_t a[4];
      LoadMatrix4(a, stage + MmaOffset(row_m + 16 * i + lane % 16, 2 * step + lane / 16));
#pragma unroll
      for (int j = 0; j < Traits::kSlabsN; ++j) {
        auto* d = &sum[(i * Traits::kSlabsN + j) * 8];
        if constexpr (std::is_same_v<T, int8_t>) {
          Mma16832(d, a, b[j][0], b[j][1]);
          Mma16832(d + 4, a, b[j][2], b[j][3]);
        } else {
          Mma16816<__nv_bfloat16>(d, a, b[j][0], b[j][1]);
          Mma16816<__nv_bfloat16>(d + 4, a, b[j][2], b[j][3]);
        }
      }
    }
  }
}

// An expert's bias of columns `col`, which is even, and col + 1.
__device__ __forceinline__ float2 BiasPair(const GroupedGemmParams& p, int expert, int col) {
  if (p.bias == nullptr || col >= p.n) return make_float2(0.0f, 0.0f);
  return __bfloat1622float2(
      *reinterpret_cast<const __nv_bfloat162*>(p.bias + int64_t{expert} * p.n + col));
}

// What sums begin with: the bias, which int8 adds behind its scales instead. `col0`: of the tile.
template <typename T, typename Traits>
__device__ __forceinline__ void BeginSums(typename Traits::Sum (&sum)[Traits::kRegisters],
                                          const GroupedGemmParams& p, int expert, int col0) {
  const int warp = threadIdx.x / 32;
  const int first = col0 + warp % Traits::kWarpsN * (16 * Traits::kSlabsN) + 2 * (threadIdx.x % 4);
#pragma unroll
  for (int r = 0; r < Traits::kRegisters; r += 2) {
    sum[r] = sum[r + 1] = 0;
    if constexpr (!std::is_same_v<T, int8_t>) {
      const float2 bias =
          BiasPair(p, expert, first + 16 * (r / 8 % Traits::kSlabsN) + 8 * (r / 4 % 2));
      sum[r] = bias.x;
      sum[r + 1] = bias.y;
    }
  }
}

// Writes a finished tile whose first row and column are these; rows from `end` on are left alone.
template <typename T, typename Traits>
__device__ __forceinline__ void WriteGroupedTile(
    const typename Traits::Sum (&sum)[Traits::kRegisters], const GroupedGemmParams& p, int expert,
    int row0, int end, int col0) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  row0 += warp / Traits::kWarpsN * (16 * Traits::kSlabsM) + lane / 4;
  col0 += warp % Traits::kWarpsN * (16 * Traits::kSlabsN) + 2 * (lane % 4);
#pragma unroll
  for (int r = 0; r < Traits::kRegisters; r += 2) {
    const int row = row0 + 16 * (r / (8 * Traits::kSlabsN)) + 8 * (r / 2 % 2);
    const int col = col0 + 16 * (r / 8 % Traits::kSlabsN) + 8 * (r / 4 % 2);
    if (row >= end || col >= p.n) continue;  // n is even
    uint32_t pair;
    if constexpr (std::is_same_v<T, int8_t>) {
      const float x_scale = p.x_scale[p.x_row == nullptr ? row : p.x_row[row]];
      const float2 w_scale =
          *reinterpret_cast<const float2*>(p.w_scale + int64_t{expert} * p.n + col);
      pair = ScalePair(sum[r], sum[r + 1], x_scale, w_scale, BiasPair(p, expert, col));
    } else {
      pair = PackPair<__nv_bfloat16>(sum[r], sum[r + 1]);
    }
    *reinterpret_cast<uint32_t*>(p.y + row * p.y_stride + col) = pair;
  }
}

template <typename T, typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, Traits::kBlocksPerSm)
    GroupedGemmMmaKernel(const GroupedGemmParams p) {
  extern __shared__ __align__(16) uint8_t shared[];
  __shared__ int x_rows[Traits::kBlockRows];
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const bool by_row = p.num_rows < p.num_experts;
  const int2 span = by_row ? p.span_of[blockIdx.y] : make_int2(blockIdx.y, 0);
  const int expert = span.x;
  const int first = by_row ? blockIdx.y : p.first_row[expert];
  const int end = by_row ? span.y : p.first_row[expert + 1];
  const int col0 = blockIdx.x * Traits::kBlockCols;
  const int steps = (p.k + Traits::kStepElements - 1) / Traits::kStepElements;
  const T* const x = static_cast<const T*>(p.x);
  const T* const w = static_cast<const T*>(p.w) + int64_t{expert} * p.n * p.k;
  for (int row0 = first + blockIdx.z * Traits::kBlockRows; row0 < end;
       row0 += gridDim.z * Traits::kBlockRows) {
    __syncthreads();  // the tile before is done with the stages and the list
    for (int i = threadIdx.x; i < Traits::kBlockRows; i += Traits::kThreads) {
      const int row = row0 + i;
      x_rows[i] = row >= end ? -1 : p.x_row == nullptr ? row : p.x_row[row];
    }
    __syncthreads();
    const auto load = [&](int step) {
      uint8_t* stage = shared + step % Traits::kStages * Traits::kStageBytes;
      const int k0 = step * Traits::kStepElements;
      CopyTile<T, Traits::kBlockRows, Traits::kThreads>(stage, p.x, p.k, k0, [&](int row) {
        return x_rows[row] < 0 ? nullptr : x + x_rows[row] * p.x_stride;
      });
      CopyTile<T, Traits::kBlockCols, Traits::kThreads>(
          stage + Traits::kXBytes, p.x, p.k, k0,
          [&](int row) { return col0 + row < p.n ? w + int64_t{col0 + row} * p.k : nullptr; });
    };
#pragma unroll
    for (int i = 0; i < Traits::kStages - 1; ++i) {
      if (i < steps) load(i);
      CpAsyncCommit();  // empty groups keep the count
    }
    typename Traits::Sum sum[Traits::kRegisters];
    BeginSums<T, Traits>(sum, p, expert, col0);
    for (int step = 0; step < steps; ++step) {
      // This stage has landed for every thread, and every thread is done with the one before it,
      // which is the one refilled next.
      CpAsyncWait<Traits::kStages - 2>();
      __syncthreads();
      if (step + Traits::kStages - 1 < steps) load(step + Traits::kStages - 1);
      CpAsyncCommit();
      MultiplyGroupedStage<T, Traits>(sum, shared + step % Traits::kStages * Traits::kStageBytes);
    }
    WriteGroupedTile<T, Traits>(sum, p, expert, row0, end, col0);
  }
}

}  // namespace pingti::kernels
