// First half of an adapter's product: see lora.h.
//
//   shrunk[split, tile row, module, r] = sum over k of the split of x[row, k] A[slot, module, r, k]
//
// Grid: (tile, module and 16 ranks, split of 1024 inputs). A block of eight warps takes one tile's
// 16 rows and 16 ranks; each of its warps has four stretches of 32 inputs, and their sums are added
// up in order through shared memory. Products: mma.sync m16n8k16, f32 sums.
//
// All that a block reads of A is in its registers before it waits for the kernel that writes x:
// what is left then is one round trip to the L2 for x and one barrier.
//
// Both operands lie along k, so the order of k within a product is free: lane (g, t) loads inputs
// [8 t, 8 t + 8) of a stretch of 32 as one vector, and the halves of it serve two products. Per
// tile, module and rank: 2 * in_features bytes of A and 32 / 16 of x, from the L2 where several
// tiles share an adapter; bound by latency at decode sizes. Shared memory: 8 KB. Architectures:
// sm_80 and newer; on sm_90 its start overlaps the kernel before it (overlap.h). Tolerance: f32
// sums of bf16 products.

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/mma_sm80.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "pingti/kernels/lora.h"

namespace pingti::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kBlocksPerSm = 2;  // registers for all of a lane's loads at once
constexpr int kStretch = 32;     // inputs of one vector per lane
constexpr int kStretches = 4;    // of a warp
constexpr int kSplitInputs = kWarps * kStretches * kStretch;

using Vector = uint4;  // eight elements

// One lane's part of two rows in all of its warp's stretches: rows g and g + 8 of the tile, or
// ranks.
struct RowPair {
  Vector low[kStretches];
  Vector high[kStretches];
};

// Input of this lane in one of its warp's stretches.
__device__ __forceinline__ int InputOf(int stretch) {
  const int warp = threadIdx.x / 32;
  return blockIdx.z * kSplitInputs + (stretch * kWarps + warp) * kStretch + 8 * (threadIdx.x % 4);
}

// Zeros stand for rows that are null, and for inputs past the end. Plain loads: x was written by a
// kernel that this one may have overlapped.
__device__ __forceinline__ void LoadRows(const __nv_bfloat16* low, const __nv_bfloat16* high,
                                         int in_features, RowPair* rows) {
  const Vector zero = make_uint4(0, 0, 0, 0);
#pragma unroll
  for (int i = 0; i < kStretches; ++i) {
    const int at = InputOf(i);
    const bool valid = at < in_features;
    rows->low[i] = valid && low != nullptr ? *reinterpret_cast<const Vector*>(low + at) : zero;
    rows->high[i] = valid && high != nullptr ? *reinterpret_cast<const Vector*>(high + at) : zero;
  }
}

// Adds to the sums of ranks 8 j + 2 t, 8 j + 2 t + 1 for rows g and g + 8.
__device__ __forceinline__ void Multiply(const RowPair& x, const RowPair& a, float (&sums)[2][4]) {
#pragma unroll
  for (int i = 0; i < kStretches; ++i) {
    const uint32_t first[4] = {x.low[i].x, x.high[i].x, x.low[i].y, x.high[i].y};
    const uint32_t second[4] = {x.low[i].z, x.high[i].z, x.low[i].w, x.high[i].w};
    Mma16816<__nv_bfloat16>(sums[0], first, a.low[i].x, a.low[i].y);
    Mma16816<__nv_bfloat16>(sums[1], first, a.high[i].x, a.high[i].y);
    Mma16816<__nv_bfloat16>(sums[0], second, a.low[i].z, a.low[i].w);
    Mma16816<__nv_bfloat16>(sums[1], second, a.high[i].z, a.high[i].w);
  }
}

__global__ void __launch_bounds__(kWarps * 32, kBlocksPerSm)
    ShrinkKernel(const LoraShrinkParams p) {
  __shared__ float partial[kWarps][kLoraTileRows][kLoraRankStep];
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
#endif
  const int tile = blockIdx.x;
  const int rank_steps = p.max_rank / kLoraRankStep;
  const int module = blockIdx.y / rank_steps;
  const int first_rank = blockIdx.y % rank_steps * kLoraRankStep;
  const int g = threadIdx.x % 32 / 4;
  const int t = threadIdx.x % 4;
  const int slot = p.tiles.slots[tile];
  const int row_low = p.tiles.rows[tile * kLoraTileRows + g];
  const int row_high = p.tiles.rows[tile * kLoraTileRows + g + 8];
  const int rank = slot < 0 ? 0 : p.ranks[slot * p.ranks_slot_stride + module];
  RowPair a = {};
  // The first ranks are loaded without waiting for how many there are.
  if (slot >= 0 && (first_rank == 0 || first_rank < rank)) {
    const __nv_bfloat16* low =
        static_cast<const __nv_bfloat16*>(p.a) + slot * p.a_slot_stride +
        static_cast<int64_t>(module * p.max_rank + first_rank + g) * p.in_features;
    LoadRows(low, low + 8 * static_cast<int64_t>(p.in_features), p.in_features, &a);
  }
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  WaitForPriorKernels();
#endif
  if (first_rank >= rank) return;

  const auto* values = static_cast<const __nv_bfloat16*>(p.x);
  RowPair x;
  LoadRows(row_low < 0 ? nullptr : values + row_low * p.x_stride,
           row_high < 0 ? nullptr : values + row_high * p.x_stride, p.in_features, &x);
  float sums[2][4] = {};
  Multiply(x, a, sums);
  const int warp = threadIdx.x / 32;
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    partial[warp][g][8 * j + 2 * t] = sums[j][0];
    partial[warp][g][8 * j + 2 * t + 1] = sums[j][1];
    partial[warp][g + 8][8 * j + 2 * t] = sums[j][2];
    partial[warp][g + 8][8 * j + 2 * t + 1] = sums[j][3];
  }
  __syncthreads();  // every warp's sums are there
  const int row = threadIdx.x / kLoraRankStep;
  const int column = threadIdx.x % kLoraRankStep;
  float sum = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) sum += partial[w][row][column];
  const int64_t out_row =
      (static_cast<int64_t>(blockIdx.z) * p.tiles.num_tiles + tile) * kLoraTileRows + row;
  p.shrunk[(out_row * p.num_modules + module) * p.max_rank + first_rank + column] = sum;
}

static_assert(kWarps * 32 == kLoraTileRows * kLoraRankStep, "a thread adds up one sum");

}  // namespace

int LoraSplits(int32_t in_features) { return CeilDiv(in_features, kSplitInputs); }

cudaError_t LaunchLoraShrink(const LoraShrinkParams& p, cudaStream_t stream) {
  if (p.dtype != DType::kBf16) return cudaErrorNotSupported;
  if (p.tiles.num_tiles < 0 || p.in_features <= 0 || p.in_features % 8 != 0 ||
      p.x_stride % 8 != 0 || p.a_slot_stride % 8 != 0 || p.num_modules <= 0 || p.max_rank <= 0 ||
      p.max_rank % kLoraRankStep != 0 || p.max_rank > kMaxLoraRank) {
    return cudaErrorInvalidValue;
  }
  if (p.tiles.num_tiles == 0) return cudaSuccess;
  if (p.tiles.rows == nullptr || p.tiles.slots == nullptr || p.ranks == nullptr ||
      !IsPresent(p.x) || !IsPresent(p.a) || !IsPresent(p.shrunk)) {
    return cudaErrorInvalidValue;
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const dim3 grid(p.tiles.num_tiles, p.num_modules * (p.max_rank / kLoraRankStep),
                  LoraSplits(p.in_features));
  return LaunchOverlapped(ShrinkKernel, grid, dim3(kWarps * 32), 0, stream,
                          device.compute_capability, p);
}

}  // namespace pingti::kernels
