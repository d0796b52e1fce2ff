// Second half of an adapter's product: see lora.h.
//
//   y[row, n] = sum over r of (sum over splits of shrunk[split, tile row, module(n), r])
//                             B[slot, n, r]          or y[row, n] += that
//
// Grid: (tile, 256 columns). A block goes over the modules that its columns belong to, 16 ranks at
// a time: its threads add up the splits of the tile's 16 rows in f32, in order, and leave them in
// shared memory, rounded to bf16; each of its four warps multiplies them with 64 columns of B, with
// zeros for the columns of other modules. Products: mma.sync m16n8k16; sums over ranks in f32,
// rounded once. The first 16 ranks of B are in registers before the block waits for shrink.
//
// The order of ranks within a product is free, and so is that of columns among four products: lane
// (g, t) loads ranks [4 t, 4 t + 4) of a row of B or of the sums as one vector, and has columns
// [8 t, 8 t + 8) of every 32, of rows g and g + 8: one vector of y each. Bytes per tile: 2 * rank *
// out_features of B, 32 * out_features of y; bound by latency at decode sizes, by y's bandwidth at
// large ones. Shared memory: 512 bytes. Architectures: sm_80 and newer; on sm_90 its start overlaps
// the kernel before it (overlap.h).

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/mma_sm80.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "kernels/common/vec8.cuh"
#include "pingti/kernels/lora.h"

namespace pingti::kernels {
namespace {

constexpr int kWarps = 4;
constexpr int kBlocksPerSm = 6;
constexpr int kGroupColumns = 32;  // of four products
constexpr int kGroups = 2;         // of a warp
constexpr int kWarpColumns = kGroups * kGroupColumns;
constexpr int kBlockColumns = kWarps * kWarpColumns;
constexpr int kProducts = kGroups * 4;
constexpr int kPairs = kLoraRankStep / 2;  // of ranks
constexpr int kSplitsAtOnce = 8;           // whose loads are in flight together

static_assert(kWarps * 32 == kLoraTileRows * kPairs, "a thread adds up one pair of ranks");

// Columns [begin, end) of y, of one module, and 16 of its ranks.
struct Piece {
  int begin;
  int end;
  int module;
  int first_rank;
};

// Column, from the block's first one, of product j that lane group `group` loads, and whose sums
// lane t = group / 2 gets.
__device__ __forceinline__ int ColumnOf(int j, int group) {
  return threadIdx.x / 32 * kWarpColumns + j / 4 * kGroupColumns + 8 * (group / 2) + 2 * (j % 4) +
         group % 2;
}

// A lane's part of B for one product each: four ranks of a column, zeros where it is not in the
// piece. Plain loads, which stay in front of a wait.
__device__ __forceinline__ void LoadColumns(const LoraExpandParams& p, int slot, const Piece& piece,
                                            uint2 (&columns)[kProducts]) {
  const int g = threadIdx.x % 32 / 4;
  const int t = threadIdx.x % 4;
  const int first = blockIdx.y * kBlockColumns + ColumnOf(0, g);
  const auto* b = static_cast<const __nv_bfloat16*>(p.b) + slot * p.b_slot_stride +
                  static_cast<int64_t>(first) * p.max_rank + piece.first_rank + 4 * t;
#pragma unroll
  for (int j = 0; j < kProducts; ++j) {
    const int further = ColumnOf(j, 0) - ColumnOf(0, 0);
    const bool own = first + further >= piece.begin && first + further < piece.end;
    columns[j] = own ? *reinterpret_cast<const uint2*>(b + further * p.max_rank) : make_uint2(0, 0);
  }
}

// Sums over all splits of one row's pair of ranks per thread, rounded.
__device__ __forceinline__ void AddSplits(const LoraExpandParams& p, const Piece& piece,
                                          uint32_t (&sums)[kLoraTileRows][kPairs]) {
  const int row = threadIdx.x / kPairs;
  const int pair = threadIdx.x % kPairs;
  const int64_t width = int64_t{p.num_modules} * p.max_rank;
  const float* at = p.shrunk + (int64_t{blockIdx.x} * kLoraTileRows + row) * width +
                    piece.module * p.max_rank + piece.first_rank + 2 * pair;
  const int64_t split_stride = int64_t{p.tiles.num_tiles} * kLoraTileRows * width;
  float2 sum = make_float2(0, 0);
  for (int first = 0; first < p.num_splits; first += kSplitsAtOnce) {
    float2 parts[kSplitsAtOnce];
#pragma unroll
    for (int i = 0; i < kSplitsAtOnce; ++i) {
      parts[i] =
          first + i < p.num_splits ? *reinterpret_cast<const float2*>(at) : make_float2(0, 0);
      at += split_stride;
    }
#pragma unroll
    for (int i = 0; i < kSplitsAtOnce; ++i) {
      sum.x += parts[i].x;
      sum.y += parts[i].y;
    }
  }
  sums[row][pair] = PackPair<__nv_bfloat16>(sum.x, sum.y);
}

__device__ __forceinline__ void Multiply(const uint32_t (&sums)[kLoraTileRows][kPairs],
                                         const uint2 (&columns)[kProducts],
                                         float (&results)[kProducts][4]) {
  const int g = threadIdx.x % 32 / 4;
  const int t = threadIdx.x % 4;
  const uint2 low = *reinterpret_cast<const uint2*>(&sums[g][2 * t]);
  const uint2 high = *reinterpret_cast<const uint2*>(&sums[g + 8][2 * t]);
  const uint32_t rows[4] = {low.x, high.x, low.y, high.y};
#pragma unroll
  for (int j = 0; j < kProducts; ++j) {
    Mma16816<__nv_bfloat16>(results[j], rows, columns[j].x, columns[j].y);
  }
}

// y = values, or y += values.
__device__ __forceinline__ void Store8(__nv_bfloat16* y, bool accumulate, float (&values)[8]) {
  if (accumulate) {
    float before[8];
    Unpack8<__nv_bfloat16>(*reinterpret_cast<const uint4*>(y), before);
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] += before[i];
  }
  *reinterpret_cast<uint4*>(y) = Pack8<__nv_bfloat16>(values);
}

__device__ __forceinline__ void Store8(float* y, bool accumulate, float (&values)[8]) {
  auto* vectors = reinterpret_cast<float4*>(y);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float4 sum = accumulate ? vectors[i] : make_float4(0, 0, 0, 0);
    sum.x += values[4 * i];
    sum.y += values[4 * i + 1];
    sum.z += values[4 * i + 2];
    sum.w += values[4 * i + 3];
    vectors[i] = sum;
  }
}

// Writes row g (half 0) or g + 8 (half 1).
template <class Y>
__device__ __forceinline__ void WriteRow(const LoraExpandParams& p, int row, int half,
                                         const float (&results)[kProducts][4]) {
  if (row < 0) return;
  auto* y = static_cast<Y*>(p.y) + row * p.y_stride;
  const int warp_column = blockIdx.y * kBlockColumns + threadIdx.x / 32 * kWarpColumns;
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    const int column = warp_column + group * kGroupColumns + 8 * (threadIdx.x % 4);
    if (column >= p.out_features) return;
    float values[8];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      values[2 * j] = results[4 * group + j][2 * half];
      values[2 * j + 1] = results[4 * group + j][2 * half + 1];
    }
    Store8(y + column, p.accumulate, values);
  }
}

template <class Y>
__global__ void __launch_bounds__(kWarps * 32, kBlocksPerSm)
    ExpandKernel(const LoraExpandParams p) {
  __shared__ __align__(16) uint32_t sums[kLoraTileRows][kPairs];
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
#endif
  const int32_t* rows = p.tiles.rows + blockIdx.x * kLoraTileRows;
  const int row_low = rows[threadIdx.x % 32 / 4];
  const int row_high = rows[threadIdx.x % 32 / 4 + 8];
  const int slot = p.tiles.slots[blockIdx.x];
  if (rows[0] < 0) return;  // an empty tile; blocks of others wait for shrink
  const int block_end = min((blockIdx.y + 1) * kBlockColumns, p.out_features);
  int part = 0;
  while (p.part_end[part] <= blockIdx.y * kBlockColumns) ++part;
  Piece piece = {part == 0 ? 0 : p.part_end[part - 1], p.part_end[part], p.part_module[part], 0};
  uint2 columns[kProducts];
  int rank = slot < 0 ? 0 : p.ranks[slot * p.ranks_slot_stride + piece.module];
  bool loaded = slot >= 0;
  if (loaded) LoadColumns(p, slot, piece, columns);
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  WaitForPriorKernels();
#endif
  if (slot < 0 && p.accumulate) return;
  float results[kProducts][4] = {};
  while (slot >= 0 && piece.begin < block_end) {
    for (piece.first_rank = 0; piece.first_rank < rank; piece.first_rank += kLoraRankStep) {
      if (!loaded) LoadColumns(p, slot, piece, columns);
      loaded = false;
      AddSplits(p, piece, sums);
      __syncthreads();  // all sums are there
      Multiply(sums, columns, results);
      __syncthreads();  // and read, before others take their place
    }
    loaded = false;
    if (++part == p.num_parts) break;
    piece = {piece.end, p.part_end[part], p.part_module[part], 0};
    rank = p.ranks[slot * p.ranks_slot_stride + piece.module];
  }
  WriteRow<Y>(p, row_low, 0, results);
  WriteRow<Y>(p, row_high, 1, results);
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
  if (p.dtype != DType::kBf16 || (p.y_dtype != DType::kBf16 && p.y_dtype != DType::kF32)) {
    return cudaErrorNotSupported;
  }
  if (p.tiles.num_tiles < 0 || p.out_features <= 0 || p.y_stride % 8 != 0 ||
      p.b_slot_stride % 4 != 0 || p.num_modules <= 0 || p.max_rank <= 0 ||
      p.max_rank % kLoraRankStep != 0 || p.max_rank > kMaxLoraRank || p.num_splits <= 0 ||
      p.num_parts <= 0 || p.num_parts > kMaxLoraParts || !PartsFit(p)) {
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
  const auto kernel = p.y_dtype == DType::kBf16 ? ExpandKernel<__nv_bfloat16> : ExpandKernel<float>;
  return LaunchOverlapped(kernel, grid, dim3(kWarps * 32), 0, stream, device.compute_capability, p);
}

}  // namespace pingti::kernels
