// Dispatch of the int8 GEMM: parameter checks, the variant table, and the launch of its choice.
// Host code only. Read next: table.h.
#include <algorithm>
#include <cstdint>
#include <span>

#include "kernels/common/status.h"
#include "kernels/gemm/int8/mma/launch.h"
#include "kernels/gemm/int8/split/launch.h"
#include "kernels/gemm/int8/stream/launch.h"
#include "kernels/gemm/int8/table.h"
#include "kernels/gemm/int8/tile/launch.h"
#include "kernels/gemm/int8/tuned_h100.h"
#include "kernels/gemm/int8/tuned_h200.h"
#include "pingti/kernels/gemm_s8.h"

namespace pingti::kernels {
namespace {

// Without a measurement, the first stream variant whose token tile holds m is taken for m up to
// this: with more tokens, who wins depends on the shape.
constexpr int kMostStreamTokens = 128;

// Every instantiation: one line a variant, its launcher beside it.
struct StreamEntry {
  int tokens, stages, cluster;
  cudaError_t (*launch)(const GemmS8Params&, cudaStream_t);
};
constexpr StreamEntry kStream[] = {
    {8, 12, 1, LaunchGemmS8StreamAs<8, 12, 1>},   {16, 12, 1, LaunchGemmS8StreamAs<16, 12, 1>},
    {32, 11, 1, LaunchGemmS8StreamAs<32, 11, 1>}, {32, 11, 2, LaunchGemmS8StreamAs<32, 11, 2>},
    {64, 9, 1, LaunchGemmS8StreamAs<64, 9, 1>},   {64, 9, 2, LaunchGemmS8StreamAs<64, 9, 2>},
    {96, 7, 1, LaunchGemmS8StreamAs<96, 7, 1>},   {96, 7, 2, LaunchGemmS8StreamAs<96, 7, 2>},
    {128, 7, 1, LaunchGemmS8StreamAs<128, 7, 1>}, {128, 7, 2, LaunchGemmS8StreamAs<128, 7, 2>},
    {192, 5, 1, LaunchGemmS8StreamAs<192, 5, 1>}, {192, 5, 2, LaunchGemmS8StreamAs<192, 5, 2>},
    {256, 4, 1, LaunchGemmS8StreamAs<256, 4, 1>}, {256, 4, 2, LaunchGemmS8StreamAs<256, 4, 2>},
};

constexpr int kMostSplit = 4;
constexpr StreamEntry kSplit[] = {
    {8, 12, 2, LaunchGemmS8SplitAs<8, 12, 2>},   {8, 12, 3, LaunchGemmS8SplitAs<8, 12, 3>},
    {8, 12, 4, LaunchGemmS8SplitAs<8, 12, 4>},   {16, 12, 2, LaunchGemmS8SplitAs<16, 12, 2>},
    {16, 12, 3, LaunchGemmS8SplitAs<16, 12, 3>}, {16, 12, 4, LaunchGemmS8SplitAs<16, 12, 4>},
    {32, 11, 2, LaunchGemmS8SplitAs<32, 11, 2>}, {32, 11, 3, LaunchGemmS8SplitAs<32, 11, 3>},
    {32, 11, 4, LaunchGemmS8SplitAs<32, 11, 4>}, {64, 9, 2, LaunchGemmS8SplitAs<64, 9, 2>},
    {64, 9, 3, LaunchGemmS8SplitAs<64, 9, 3>},   {64, 9, 4, LaunchGemmS8SplitAs<64, 9, 4>},
    {128, 7, 2, LaunchGemmS8SplitAs<128, 7, 2>}, {128, 7, 3, LaunchGemmS8SplitAs<128, 7, 3>},
    {128, 7, 4, LaunchGemmS8SplitAs<128, 7, 4>},
};

struct TileEntry {
  int columns, cluster;
  cudaError_t (*launch)(const GemmS8Params&, int group_m, cudaStream_t);
};
constexpr TileEntry kTile[] = {
    {128, 1, LaunchGemmS8TileAs<128, 6, 1>}, {128, 2, LaunchGemmS8TileAs<128, 6, 2>},
    {160, 1, LaunchGemmS8TileAs<160, 5, 1>}, {160, 2, LaunchGemmS8TileAs<160, 5, 2>},
    {192, 1, LaunchGemmS8TileAs<192, 4, 1>}, {192, 2, LaunchGemmS8TileAs<192, 4, 2>},
    {256, 1, LaunchGemmS8TileAs<256, 4, 1>}, {256, 2, LaunchGemmS8TileAs<256, 4, 2>},
};

struct MmaEntry {
  int rows;
  cudaError_t (*launch)(const GemmS8Params&, cudaStream_t);
};
constexpr MmaEntry kMma[] = {
    {16, LaunchGemmS8MmaAs<16>}, {64, LaunchGemmS8MmaAs<64>}, {128, LaunchGemmS8MmaAs<128>}};

bool IsValid(const GemmS8Params& p) {
  const bool sizes =
      p.m >= 0 && p.n >= 0 && p.k > 0 && p.n % 8 == 0 && p.k % 16 == 0 && p.k < 131072;
  const bool operands = IsAligned(p.a, 16) && IsAligned(p.w, 16) && p.a_row_stride % 16 == 0 &&
                        p.w_row_stride % 16 == 0 && p.a_row_stride >= p.k && p.w_row_stride >= p.k;
  if (!sizes || !operands || p.workspace_bytes < GemmS8WorkspaceBytes() ||
      !IsAligned(p.workspace, 256)) {
    return false;
  }
  if (p.m == 0 || p.n == 0) return true;
  if (p.a == nullptr || p.w == nullptr || p.workspace == nullptr) return false;
  if (p.accumulators != nullptr) return IsAligned(p.accumulators, 16);
  return p.token_scale != nullptr && p.channel_scale != nullptr && IsAligned(p.channel_scale, 8) &&
         IsAligned(p.bias, 4) && IsAligned(p.residual, 4) && p.residual_row_stride % 2 == 0 &&
         p.y != nullptr && IsAligned(p.y, 16) && p.y_row_stride % 8 == 0 && p.y_row_stride >= p.n;
}

// Time of a tile variant in tensor-core cycles: whole waves of tiles, each its products plus what a
// tile costs beside them (filling the pipeline, the epilogue's tail).
int64_t TileCycles(const GemmS8Variant& v, int m, int n, int k, int num_sms) {
  constexpr int kTileOverheadCycles = 3000;
  // Measured on an H100 by bench_gemm_s8 --variants: the L2 delivers about 32 bytes a cycle and SM,
  // and products run at 78 % of their peak beside the loads.
  const int load_cycles = (128 + v.block / v.cluster) * 128 / 32;
  const int product_cycles = 4 * v.block * 128 / 100;
  const int64_t tiles = int64_t{CeilDiv(m, 128 * v.cluster)} * CeilDiv(n, v.block);
  const int64_t resident = num_sms / v.cluster;
  const int64_t waves = (tiles + resident - 1) / resident;
  return waves *
         (int64_t{CeilDiv(k, 128)} * std::max(load_cycles, product_cycles) + kTileOverheadCycles);
}

}  // namespace

size_t GemmS8WorkspaceBytes() {
  return std::max(kGemmS8StreamWorkspaceBytes, kGemmS8MmaWorkspaceBytes);
}

const char* GemmS8FamilyName(GemmS8Family family) {
  switch (family) {
    case GemmS8Family::kStream:
      return "stream";
    case GemmS8Family::kSplit:
      return "split";
    case GemmS8Family::kTile:
      return "tile";
    case GemmS8Family::kMma:
      return "mma";
  }
  return "unknown";
}

std::vector<GemmS8Variant> GemmS8Variants(int m, int compute_capability) {
  std::vector<GemmS8Variant> variants;
  if (compute_capability == 90) {
    for (const StreamEntry& e : kStream) {
      if (m <= e.tokens) {
        variants.push_back({GemmS8Family::kStream, e.tokens, e.cluster, e.stages, 0});
      }
    }
    for (const StreamEntry& e : kSplit) {
      if (m <= e.tokens) {
        variants.push_back({GemmS8Family::kSplit, e.tokens, e.cluster, e.stages, 0});
      }
    }
    for (const TileEntry& e : kTile) {
      variants.push_back({GemmS8Family::kTile, e.columns, e.cluster, 0, 16 / e.cluster});
    }
  }
  for (const MmaEntry& e : kMma) variants.push_back({GemmS8Family::kMma, e.rows, 1, 0, 0});
  return variants;
}

GemmS8Variant PickGemmS8Variant(int m, int n, int k, const DeviceTraits& device) {
  if (device.compute_capability != 90) {
    return {GemmS8Family::kMma, m <= 16 ? 16 : m <= 64 ? 64 : 128, 1, 0, 0};
  }
  constexpr int kH100BusBits = 5120;  // an H200's is wider: faster memory changes who wins
  const std::span<const GemmS8TunedEntry> tuned =
      device.memory_bus_bits > kH100BusBits ? std::span<const GemmS8TunedEntry>(kGemmS8TunedH200)
                                            : std::span<const GemmS8TunedEntry>(kGemmS8TunedH100);
  for (const GemmS8TunedEntry& e : tuned) {  // in order of max_m
    if (e.n == n && e.k == k && m <= e.max_m) return e.variant;
  }
  // Where tiles leave SMs without one, a tile's k is shared by as many as there are for it.
  const int sms_per_tile = std::min(device.num_sms / CeilDiv(n, 128), kMostSplit);
  for (const StreamEntry& e : kSplit) {
    if (m <= e.tokens && e.cluster == sms_per_tile) {
      return {GemmS8Family::kSplit, e.tokens, e.cluster, e.stages, 0};
    }
  }
  for (const StreamEntry& e : kStream) {
    if (m > kMostStreamTokens) break;
    if (m <= e.tokens) return {GemmS8Family::kStream, e.tokens, e.cluster, e.stages, 0};
  }
  GemmS8Variant best;
  int64_t best_cycles = INT64_MAX;
  for (const TileEntry& e : kTile) {
    const GemmS8Variant variant = {GemmS8Family::kTile, e.columns, e.cluster, 0, 16 / e.cluster};
    const int64_t cycles = TileCycles(variant, m, n, k, device.num_sms);
    if (cycles < best_cycles) {
      best = variant;
      best_cycles = cycles;
    }
  }
  return best;
}

cudaError_t LaunchGemmS8Variant(const GemmS8Params& params, const GemmS8Variant& variant,
                                cudaStream_t stream) {
  if (!IsValid(params)) return cudaErrorInvalidValue;
  if (params.m == 0 || params.n == 0) return cudaSuccess;
  switch (variant.family) {
    case GemmS8Family::kStream:
      for (const StreamEntry& e : kStream) {
        if (e.tokens == variant.block && e.stages == variant.stages &&
            e.cluster == variant.cluster) {
          return e.launch(params, stream);
        }
      }
      break;
    case GemmS8Family::kSplit:
      for (const StreamEntry& e : kSplit) {
        if (e.tokens == variant.block && e.stages == variant.stages &&
            e.cluster == variant.cluster) {
          return e.launch(params, stream);
        }
      }
      break;
    case GemmS8Family::kTile:
      for (const TileEntry& e : kTile) {
        if (e.columns == variant.block && e.cluster == variant.cluster) {
          return e.launch(params, std::max(1, variant.group_m), stream);
        }
      }
      break;
    case GemmS8Family::kMma:
      for (const MmaEntry& e : kMma) {
        if (e.rows == variant.block) return e.launch(params, stream);
      }
      break;
  }
  return cudaErrorNotSupported;
}

cudaError_t LaunchGemmS8(const GemmS8Params& params, cudaStream_t stream) {
  if (!IsValid(params)) return cudaErrorInvalidValue;
  if (params.m == 0 || params.n == 0) return cudaSuccess;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  if (device.compute_capability < 80) return cudaErrorNotSupported;
  return LaunchGemmS8Variant(params, PickGemmS8Variant(params.m, params.n, params.k, device),
                             stream);
}

}  // namespace pingti::kernels
