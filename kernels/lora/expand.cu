// Second half of an adapter's product: see lora.h.
//
//   y[row, n] += sum over r of (sum over splits of shrunk[split, tile row, module(n), r])
//                              B[slot, n, r]
//
// Grid: (tile, 128 columns). Each of a block's four warps takes one tile's 16 rows and 32 columns.
// Products: mma.sync m16n8k16 over 16 ranks at a time; sums over splits in f32, in order, then
// rounded to bf16; sums over ranks and with y in f32, rounded once.
//
// The order of ranks within a product is free, and so is that of columns among a warp's four
// products: lane (g, t) loads ranks [4 t, 4 t + 4) of a row of B or of the sums as one vector, and
// has columns [8 t, 8 t + 8) of rows g and g + 8, one vector of y each. A warp whose columns belong
// to several modules goes over each of them, with zeros for the columns of the others. Bytes per
// tile: 2 * rank * out_features of B, 64 * out_features of y; bound by latency at decode sizes, by
// y's bandwidth at large ones. Architectures: sm_80 and newer; on sm_90 its start overlaps the
// kernel before it (overlap.h).

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/mma_sm80.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "kernels/common/vec8.cuh"
#include "pingti/kernels/lora.h"

namespace pingti::kernels {
namespace {

constexpr int kWarps = 4;
constexpr int kWarpColumns = 32;
constexpr int kBlockColumns = kWarps * kWarpColumns;
constexpr int kProducts = kWarpColumns / 8;

// Column of product j that lane group `group` loads, and whose sums lane t = group / 2 gets.
__device__ __forceinline__ int ColumnOf(int j, int group) {
  return 8 * (group / 2) + 2 * j + group % 2;
}

// Four ranks' sums over all splits, as two packed pairs.
__device__ __forceinline__ uint2 SumSplits(const LoraExpandParams& p, int64_t offset) {
  const int64_t split_stride =
      static_cast<int64_t>(p.tiles.num_tiles) * kLoraTileRows * p.num_modules * p.max_rank;
  float4 sum = make_float4(0, 0, 0, 0);
  for (int split = 0; split < p.num_splits; ++split) {
    const float4 part = *reinterpret_cast<const float4*>(p.shrunk + split * split_stride + offset);
    sum.x += part.x;
    sum.y += part.y;
    sum.z += part.z;
    sum.w += part.w;
  }
  return make_uint2(PackPair<__nv_bfloat16>(sum.x, sum.y), PackPair<__nv_bfloat16>(sum.z, sum.w));
}

// Adds a module's products to the sums of those of the warp's columns that lie in [begin, end).
__device__ __forceinline__ void AddModule(const LoraExpandParams& p, int slot, int module,
                                          int first_column, int begin, int end,
                                          float (&sums)[kProducts][4]) {
  const int g = threadIdx.x % 32 / 4;
  const int t = threadIdx.x % 4;
  const int rank = p.ranks[slot * p.num_modules + module];
  const int64_t tile_row = static_cast<int64_t>(blockIdx.x) * kLoraTileRows + g;
  const int64_t low = (tile_row * p.num_modules + module) * p.max_rank + 4 * t;
  const int64_t high = low + 8 * static_cast<int64_t>(p.num_modules) * p.max_rank;
  const auto* b = static_cast<const __nv_bfloat16*>(p.b) +
                  (static_cast<int64_t>(slot) * p.out_features + first_column) * p.max_rank + 4 * t;
  for (int first = 0; first < rank; first += kLoraRankStep) {
    const uint2 row_low = SumSplits(p, low + first);
    const uint2 row_high = SumSplits(p, high + first);
    const uint32_t rows[4] = {row_low.x, row_high.x, row_low.y, row_high.y};
#pragma unroll
    for (int j = 0; j < kProducts; ++j) {
      const int column = ColumnOf(j, g);
      const bool own = first_column + column >= begin && first_column + column < end;
      const uint2 pairs =
          own ? __ldg(reinterpret_cast<const uint2*>(b + column * p.max_rank + first))
              : make_uint2(0, 0);
      Mma16816<__nv_bfloat16>(sums[j], rows, pairs.x, pairs.y);
    }
  }
}

// Adds the sums of row g (half 0) or g + 8 (half 1) to y.
__device__ __forceinline__ void AddToRow(const LoraExpandParams& p, int row, int column, int half,
                                         const float (&sums)[kProducts][4]) {
  if (row < 0 || column >= p.out_features) return;
  auto* y = reinterpret_cast<uint4*>(static_cast<__nv_bfloat16*>(p.y) + row * p.y_stride + column);
  float values[8];
  Unpack8<__nv_bfloat16>(*y, values);
#pragma unroll
  for (int j = 0; j < kProducts; ++j) {
    values[2 * j] += sums[j][2 * half];
    values[2 * j + 1] += sums[j][2 * half + 1];
  }
  *y = Pack8<__nv_bfloat16>(values);
}

__global__ void __launch_bounds__(kWarps * 32) ExpandKernel(const LoraExpandParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const int slot = p.tiles.slots[blockIdx.x];
  if (slot < 0) return;
  const int warp = threadIdx.x / 32;
  const int first_column = blockIdx.y * kBlockColumns + warp * kWarpColumns;
  if (first_column >= p.out_features) return;
  float sums[kProducts][4] = {};
  bool any = false;
  int begin = 0;
  for (int part = 0; part < p.num_parts; ++part) {
    const int end = p.part_end[part];
    const int module = p.part_module[part];
    if (begin < first_column + kWarpColumns && end > first_column &&
        p.ranks[slot * p.num_modules + module] > 0) {
      AddModule(p, slot, module, first_column, begin, end, sums);
      any = true;
    }
    begin = end;
  }
  if (!any) return;
  const int g = threadIdx.x % 32 / 4;
  const int column = first_column + 8 * (threadIdx.x % 4);
  const int32_t* rows = p.tiles.rows + blockIdx.x * kLoraTileRows;
  AddToRow(p, rows[g], column, 0, sums);
  AddToRow(p, rows[g + 8], column, 1, sums);
}

bool PartsFit(const LoraExpandParams& p) {
  int32_t begin = 0;
  for (int part = 0; part < p.num_parts; ++part) {
    if (p.part_end[part] <= begin || p.part_end[part] % 8 != 0 || p.part_module[part] < 0 ||
        p.part_module[part] >= p.num_modules) {
      return false;
    }
    begin = p.part_end[part];
  }
  return begin == p.out_features;
}

}  // namespace

cudaError_t LaunchLoraExpand(const LoraExpandParams& p, cudaStream_t stream) {
  if (p.dtype != DType::kBf16) return cudaErrorNotSupported;
  if (p.tiles.num_tiles < 0 || p.out_features <= 0 || p.y_stride % 8 != 0 || p.num_modules <= 0 ||
      p.max_rank <= 0 || p.max_rank % kLoraRankStep != 0 || p.max_rank > kMaxLoraRank ||
      p.num_splits <= 0 || p.num_parts <= 0 || p.num_parts > kMaxLoraParts || !PartsFit(p)) {
    return cudaErrorInvalidValue;
  }
  if (p.tiles.num_tiles == 0) return cudaSuccess;
  if (p.tiles.rows == nullptr || p.tiles.slots == nullptr || p.ranks == nullptr ||
      !IsPresent(p.b) || !IsPresent(p.y) || !IsPresent(p.shrunk)) {
    return cudaErrorInvalidValue;
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const dim3 grid(p.tiles.num_tiles, CeilDiv(p.out_features, kBlockColumns));
  return LaunchOverlapped(ExpandKernel, grid, dim3(kWarps * 32), 0, stream,
                          device.compute_capability, p);
}

}  // namespace pingti::kernels
