// Dispatch of the weight-only grouped GEMM: parameter checks, and the choice of an instance by bit
// width, by group size and by how many rows an expert has on average. Host code only.
#include <algorithm>
#include <cstdint>

#include "kernels/common/status.h"
#include "kernels/moe/grouped_w4a16/launch.h"

namespace pingti::kernels {
namespace {

constexpr int kMaxRowBlocks = 64;

template <int kBits, int kTokens, bool kIsFloat, int kSplit = 1>
cudaError_t LaunchSteps(const GroupedW4A16Args& args, int row_blocks, cudaStream_t stream) {
  const int group_size = args.product.group_size;
  if (group_size == 32) {
    return LaunchGroupedW4A16As<kBits, kTokens, 2, kIsFloat, kSplit>(args, row_blocks, stream);
  }
  if constexpr (!kIsFloat) {
    if (group_size == 64) {
      return LaunchGroupedW4A16As<kBits, kTokens, 4, false, kSplit>(args, row_blocks, stream);
    }
    if (group_size % kPackedK == 0) {
      return LaunchGroupedW4A16As<kBits, kTokens, 8, false, kSplit>(args, row_blocks, stream);
    }
  }
  return cudaErrorNotSupported;
}

// How many blocks share a tile of 8 rows' k, where `hit` experts have rows: as many as run at once.
// Measured on an H200 (bench_moe 1 2 8): one token of Qwen3-30B-A3B's experts takes 13.3 us instead
// of 16.9, of Mixtral 8x7B's 69 instead of 95. More blocks than that: 15.1 and 69.
int SplitOf(const GroupedW4A16Args& args, int hit, const DeviceTraits& device) {
  constexpr int kTileRows = 64;  // of the matrix
  constexpr int kBlocksPerSm = 4;
  constexpr int kStageK = 2 * kPackedK;
  if (device.compute_capability < 90) return 1;
  const int blocks = CeilDiv(args.product.n, kTileRows) * hit;
  const int stages = CeilDiv(args.product.k, kStageK);
  for (const int split : {4, 2}) {
    if (blocks * split <= kBlocksPerSm * device.num_sms && stages >= split) return split;
  }
  return 1;
}

// `expected`: rows of all experts together.
template <int kBits, bool kIsFloat = false>
cudaError_t LaunchTokens(const GroupedW4A16Args& args, int expected, cudaStream_t stream) {
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  // Experts are chosen unevenly: a tile for twice the average.
  const int rows = CeilDiv(2 * expected, args.num_experts);
  if (rows <= 8) {
    // Where other experts are elsewhere, the rows that come here vary more.
    const int most = std::min({2 * expected + 1, args.num_rows, args.num_experts});
    switch (SplitOf(args, most, device)) {
      case 4:
        return LaunchSteps<kBits, 8, kIsFloat, 4>(args, 1, stream);
      case 2:
        return LaunchSteps<kBits, 8, kIsFloat, 2>(args, 1, stream);
      default:
        return LaunchSteps<kBits, 8, kIsFloat>(args, 1, stream);
    }
  }
  if (rows <= 24) return LaunchSteps<kBits, 16, kIsFloat>(args, 1, stream);
  const auto row_blocks = [rows](int tile) { return std::min(CeilDiv(rows, tile), kMaxRowBlocks); };
  if (rows <= 32 || device.compute_capability < 90) {
    return LaunchSteps<kBits, kGroupedW4A16MaxMmaTokens, kIsFloat>(
        args, row_blocks(kGroupedW4A16MaxMmaTokens), stream);
  }
  return LaunchSteps<kBits, kGroupedW4A16MaxTokens, kIsFloat>(
      args, row_blocks(kGroupedW4A16MaxTokens), stream);
}

bool IsValid(const GroupedGemmParams& p, const GroupScales& scales) {
  return p.num_rows >= 0 && p.num_rows <= INT32_MAX / 4 && p.expected_rows >= 0 &&
         p.expected_rows <= p.num_rows && p.num_experts >= 1 && p.num_experts <= kMaxExperts &&
         p.n >= kPackedRows && p.n % kPackedRows == 0 && p.n <= INT32_MAX / p.num_experts &&
         p.k >= 8 && p.k % 8 == 0 && p.x_stride % 8 == 0 && p.y_stride % 2 == 0 &&
         scales.group_size > 0 && p.x_scale == nullptr && p.w_scale == nullptr &&
         (!scales.is_fp4 || (scales.bits == WeightBits::k4 && scales.zeros == nullptr));
}

bool HasAll(const GroupedGemmParams& p, const GroupScales& scales) {
  return IsPresent(p.x) && IsPresent(p.w) && IsPresent(p.y, 4) && p.first_row != nullptr &&
         p.span_of != nullptr && IsPresent(scales.scales) && IsAligned(scales.zeros, 8);
}

}  // namespace

cudaError_t LaunchGroupedW4A16(const GroupedGemmParams& p, const GroupScales& scales,
                               cudaStream_t stream) {
  if (!IsValid(p, scales)) return cudaErrorInvalidValue;
  if (p.num_rows == 0) return cudaSuccess;
  if (!HasAll(p, scales)) return cudaErrorInvalidValue;
  GroupedW4A16Args args = {};
  args.product.n = p.n;
  args.product.k = p.k;
  // One group for all of k is a group of whole chunks.
  args.product.group_size =
      scales.group_size >= p.k ? CeilDiv(p.k, kPackedK) * kPackedK : scales.group_size;
  args.product.a = static_cast<const __nv_bfloat16*>(p.x);
  args.product.a_row_stride = p.x_stride;
  args.product.packed = static_cast<const uint4*>(p.w);
  args.product.scales = static_cast<const uint16_t*>(scales.scales);
  args.product.scale_stride = p.num_experts * p.n;
  args.product.scales_are_bf16 = scales.type == ScaleType::kBf16;
  args.product.zeros = scales.zeros;
  args.product.bias = p.bias;
  args.product.y = p.y;
  args.product.y_row_stride = p.y_stride;
  args.x_row = p.x_row;
  args.first_row = p.first_row;
  args.span_of = p.span_of;
  args.num_rows = p.num_rows;
  args.num_experts = p.num_experts;
  if (scales.is_fp4) return LaunchTokens<4, /*kIsFloat=*/true>(args, p.expected_rows, stream);
  return scales.bits == WeightBits::k4 ? LaunchTokens<4>(args, p.expected_rows, stream)
                                       : LaunchTokens<8>(args, p.expected_rows, stream);
}

}  // namespace pingti::kernels
