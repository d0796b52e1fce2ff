// Dispatch of the grouped GEMM: parameter checks, and the choice of an instance by type and by how
// many rows an expert has on average. Host code only. Read next: table.h.
#include <algorithm>
#include <cstdint>

#include "kernels/common/status.h"
#include "kernels/moe/grouped_gemm/mma/launch.h"
#include "kernels/moe/grouped_gemm/table.h"
#include "kernels/moe/grouped_gemm/tile/launch.h"

namespace pingti::kernels {
namespace {

constexpr int kMaxRowBlocks = 64;

// Every instance: one line a variant, its launchers beside it.
struct MmaEntry {
  int rows;
  cudaError_t (*bf16)(const GroupedGemmParams&, int row_blocks, cudaStream_t);
  cudaError_t (*int8)(const GroupedGemmParams&, int row_blocks, cudaStream_t);
};
constexpr MmaEntry kMma[] = {
    {16, LaunchGroupedGemmMmaAs<__nv_bfloat16, 16>, LaunchGroupedGemmMmaAs<int8_t, 16>},
    {64, LaunchGroupedGemmMmaAs<__nv_bfloat16, 64>, LaunchGroupedGemmMmaAs<int8_t, 64>},
    {128, LaunchGroupedGemmMmaAs<__nv_bfloat16, 128>, LaunchGroupedGemmMmaAs<int8_t, 128>},
};

struct TileEntry {
  int rows, columns, cluster;
  cudaError_t (*bf16)(const GroupedGemmParams&, cudaStream_t);
  cudaError_t (*int8)(const GroupedGemmParams&, cudaStream_t);
};
constexpr TileEntry kTile[] = {
    {192, 256, 1, LaunchGroupedGemmTileAs<__nv_bfloat16, 192, 256, 1>,
     LaunchGroupedGemmTileAs<int8_t, 192, 256, 1>},
    {128, 256, 1, LaunchGroupedGemmTileAs<__nv_bfloat16, 128, 256, 1>,
     LaunchGroupedGemmTileAs<int8_t, 128, 256, 1>},
    {128, 256, 2, LaunchGroupedGemmTileAs<__nv_bfloat16, 128, 256, 2>,
     LaunchGroupedGemmTileAs<int8_t, 128, 256, 2>},
};

bool IsInt8(const GroupedGemmParams& p) { return p.x_scale != nullptr; }

bool IsValid(const GroupedGemmParams& p) {
  const int vector = IsInt8(p) ? 16 : 8;
  return p.num_rows >= 0 && p.num_rows <= INT32_MAX / 4 && p.expected_rows >= 0 &&
         p.expected_rows <= p.num_rows && p.num_experts >= 1 && p.num_experts <= kMaxExperts &&
         p.n >= 2 && p.n % 2 == 0 && p.k >= vector && p.k % vector == 0 &&
         p.x_stride % vector == 0 && p.y_stride % 2 == 0;
}

bool HasAll(const GroupedGemmParams& p) {
  return IsPresent(p.x) && IsPresent(p.w) && IsPresent(p.y, 4) && p.first_row != nullptr &&
         p.span_of != nullptr && (!IsInt8(p) || IsPresent(p.w_scale, 8)) && IsAligned(p.bias, 4);
}

// The tile family moves rows of y, scales and biases in vectors of 16 bytes.
bool FitsTiles(const GroupedGemmParams& p, int compute_capability) {
  return compute_capability == 90 && p.n % 8 == 0 && p.y_stride % 8 == 0 && IsAligned(p.y) &&
         IsAligned(p.w_scale) && IsAligned(p.bias);
}

// Experts are chosen unevenly: twice the average.
int ExpectedRowsOfAnExpert(const GroupedGemmParams& p) {
  return CeilDiv(2 * p.expected_rows, p.num_experts);
}

}  // namespace

std::vector<GroupedGemmVariant> GroupedGemmVariants(const GroupedGemmParams& params,
                                                    int compute_capability) {
  std::vector<GroupedGemmVariant> variants;
  for (const MmaEntry& e : kMma) variants.push_back({GroupedGemmFamily::kMma, e.rows, 0, 1});
  if (FitsTiles(params, compute_capability)) {
    for (const TileEntry& e : kTile) {
      variants.push_back({GroupedGemmFamily::kTile, e.rows, e.columns, e.cluster});
    }
  }
  return variants;
}

// Measured on an H200 (bench_grouped_gemm), four models, 6 to 2,048 rows an expert: mma's tiles of
// 16 rows are even with wgmma's up to 8 rows, and take 10 to 45 % longer at 16, where half of the
// experts need a second one. While nearly every expert fits into 192 rows, its weights are best
// read once. From there on pairs of blocks share them, which does not pay where a tile is over
// after 16 stages.
GroupedGemmVariant PickGroupedGemmVariant(const GroupedGemmParams& params,
                                          const DeviceTraits& device) {
  const int rows = ExpectedRowsOfAnExpert(params);
  if (rows > 20 && FitsTiles(params, device.compute_capability)) {
    if (rows <= 2 * 160) return {GroupedGemmFamily::kTile, 192, 256, 1};
    const int k_bytes = IsInt8(params) ? params.k : 2 * params.k;
    return {GroupedGemmFamily::kTile, 128, 256, k_bytes <= 2048 ? 1 : 2};
  }
  return {GroupedGemmFamily::kMma, rows <= 24 ? 16 : rows <= 128 ? 64 : 128, 0, 1};
}

cudaError_t LaunchGroupedGemmVariant(const GroupedGemmParams& p, const GroupedGemmVariant& variant,
                                     cudaStream_t stream) {
  if (!IsValid(p)) return cudaErrorInvalidValue;
  if (p.num_rows == 0) return cudaSuccess;
  if (!HasAll(p)) return cudaErrorInvalidValue;
  if (variant.family == GroupedGemmFamily::kMma) {
    for (const MmaEntry& e : kMma) {
      if (e.rows != variant.rows) continue;
      const int row_blocks =
          e.rows == 16 ? 1
                       : std::clamp(CeilDiv(ExpectedRowsOfAnExpert(p), e.rows), 1, kMaxRowBlocks);
      return (IsInt8(p) ? e.int8 : e.bf16)(p, row_blocks, stream);
    }
    return cudaErrorNotSupported;
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  if (!FitsTiles(p, device.compute_capability)) return cudaErrorNotSupported;
  for (const TileEntry& e : kTile) {
    if (e.rows == variant.rows && e.columns == variant.columns && e.cluster == variant.cluster) {
      return (IsInt8(p) ? e.int8 : e.bf16)(p, stream);
    }
  }
  return cudaErrorNotSupported;
}

cudaError_t LaunchGroupedGemm(const GroupedGemmParams& p, cudaStream_t stream) {
  if (!IsValid(p)) return cudaErrorInvalidValue;
  if (p.num_rows == 0) return cudaSuccess;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  return LaunchGroupedGemmVariant(p, PickGroupedGemmVariant(p, device), stream);
}

}  // namespace pingti::kernels
