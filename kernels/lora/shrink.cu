// First half of an adapter's product: see lora.h.
//
//   shrunk[split, tile row, module, r] = sum over k of the split of x[row, k] A[slot, module, r, k]
//
// Grid: (tile, module and 16 ranks, split). A block of eight warps takes one tile's 16 rows and 16
// ranks; its warps share the inputs of its split, 32 at a time, in turns, and their sums are added
// up in order through shared memory. Products: mma.sync m16n8k16, f32 sums.
//
// Both operands lie along k, so the order of k within a product is free: lane (g, t) loads inputs
// [8 t, 8 t + 8) of a stretch of 32 as one vector, and the halves of it serve two products. Per
// tile, module and rank: 2 * in_features bytes of A and 32 / 16 of x, from the L2 where several
// tiles share an adapter; bound by latency at decode sizes. Shared memory: 8 KB. Architectures:
// sm_80 and newer; on sm_90 its start overlaps the kernel before it (overlap.h). Tolerance: f32
// sums of bf16 products.

#include <algorithm>

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/mma_sm80.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "pingti/kernels/lora.h"

namespace pingti::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kStretch = 32;        // inputs of one vector per lane
constexpr int kSplitInputs = 1024;  // about so many inputs a split
constexpr int kMaxSplits = 8;
constexpr int kUnroll = 4;  // stretches whose loads are in flight together

using Vector = uint4;  // eight elements

// One lane's part of a stretch: two rows of x and of A.
struct Loads {
  Vector x_low;   // row g of the tile
  Vector x_high;  // row g + 8
  Vector a_low;   // rank g
  Vector a_high;  // rank g + 8
};

// Plain loads: x was written by a kernel that this one may have overlapped.
__device__ __forceinline__ Vector LoadOrZero(const __nv_bfloat16* row, int at, bool valid) {
  return valid ? *reinterpret_cast<const Vector*>(row + at) : make_uint4(0, 0, 0, 0);
}

// Sums of ranks g' = 8 j + 2 t, 2 t + 1 for rows g and g + 8.
__device__ __forceinline__ void Multiply(const Loads& loads, float (&sums)[2][4]) {
  const uint32_t first[4] = {loads.x_low.x, loads.x_high.x, loads.x_low.y, loads.x_high.y};
  const uint32_t second[4] = {loads.x_low.z, loads.x_high.z, loads.x_low.w, loads.x_high.w};
  Mma16816<__nv_bfloat16>(sums[0], first, loads.a_low.x, loads.a_low.y);
  Mma16816<__nv_bfloat16>(sums[1], first, loads.a_high.x, loads.a_high.y);
  Mma16816<__nv_bfloat16>(sums[0], second, loads.a_low.z, loads.a_low.w);
  Mma16816<__nv_bfloat16>(sums[1], second, loads.a_high.z, loads.a_high.w);
}

__global__ void __launch_bounds__(kWarps * 32) ShrinkKernel(const LoraShrinkParams p) {
  __shared__ float partial[kWarps][kLoraTileRows][kLoraRankStep];
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const int tile = blockIdx.x;
  const int rank_steps = p.max_rank / kLoraRankStep;
  const int module = blockIdx.y / rank_steps;
  const int first_rank = blockIdx.y % rank_steps * kLoraRankStep;
  const int slot = p.tiles.slots[tile];
  if (slot < 0 || first_rank >= p.ranks[slot * p.num_modules + module]) return;

  const int warp = threadIdx.x / 32;
  const int g = threadIdx.x % 32 / 4;
  const int t = threadIdx.x % 4;
  const int32_t* rows = p.tiles.rows + tile * kLoraTileRows;
  const int row_low = rows[g];
  const int row_high = rows[g + 8];
  const auto* x = static_cast<const __nv_bfloat16*>(p.x);
  const __nv_bfloat16* x_low = x + max(row_low, 0) * p.x_stride;
  const __nv_bfloat16* x_high = x + max(row_high, 0) * p.x_stride;
  const __nv_bfloat16* a_low =
      static_cast<const __nv_bfloat16*>(p.a) +
      (static_cast<int64_t>(slot * p.num_modules + module) * p.max_rank + first_rank + g) *
          p.in_features;
  const __nv_bfloat16* a_high = a_low + 8 * static_cast<int64_t>(p.in_features);

  const int num_stretches = (p.in_features + kStretch - 1) / kStretch;
  const int per_split = (num_stretches + gridDim.z - 1) / gridDim.z;
  const int begin = blockIdx.z * per_split;
  const int end = min(begin + per_split, num_stretches);
  float sums[2][4] = {};
  for (int stretch = begin + warp; stretch < end; stretch += kWarps * kUnroll) {
    Loads loads[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const int at = (stretch + i * kWarps) * kStretch + 8 * t;
      const bool valid = stretch + i * kWarps < end && at < p.in_features;
      loads[i].x_low = LoadOrZero(x_low, at, valid && row_low >= 0);
      loads[i].x_high = LoadOrZero(x_high, at, valid && row_high >= 0);
      loads[i].a_low = LoadOrZero(a_low, at, valid);
      loads[i].a_high = LoadOrZero(a_high, at, valid);
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) Multiply(loads[i], sums);
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    partial[warp][g][8 * j + 2 * t] = sums[j][0];
    partial[warp][g][8 * j + 2 * t + 1] = sums[j][1];
    partial[warp][g + 8][8 * j + 2 * t] = sums[j][2];
    partial[warp][g + 8][8 * j + 2 * t + 1] = sums[j][3];
  }
  __syncthreads();  // every warp's sums are there
  const int row = threadIdx.x / kLoraRankStep;
  const int rank = threadIdx.x % kLoraRankStep;
  float sum = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) sum += partial[w][row][rank];
  const int64_t out_row =
      (static_cast<int64_t>(blockIdx.z) * p.tiles.num_tiles + tile) * kLoraTileRows + row;
  p.shrunk[(out_row * p.num_modules + module) * p.max_rank + first_rank + rank] = sum;
}

static_assert(kWarps * 32 == kLoraTileRows * kLoraRankStep, "a thread adds up one sum");

}  // namespace

int LoraSplits(int32_t in_features) {
  return std::clamp(static_cast<int>(in_features) / kSplitInputs, 1, kMaxSplits);
}

cudaError_t LaunchLoraShrink(const LoraShrinkParams& p, cudaStream_t stream) {
  if (p.dtype != DType::kBf16) return cudaErrorNotSupported;
  if (p.tiles.num_tiles < 0 || p.in_features <= 0 || p.in_features % 8 != 0 ||
      p.x_stride % 8 != 0 || p.num_modules <= 0 || p.max_rank <= 0 ||
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
