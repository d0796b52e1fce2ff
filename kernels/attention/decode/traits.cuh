// Compile-time shape of the paged decode attention kernel: tile sizes, warp roles and the
// shared-memory plan. No device code; kernel.cuh uses it on the device and
// launch_instance.cuh sizes the launch with it.
#pragma once

#include <cuda_bf16.h>

#include <cstddef>
#include <cstdint>

namespace pingti::kernels::decode {

inline constexpr int kTileTokens = 64;                      // KV tokens of one pipeline stage
inline constexpr int kConsumerWarps = 8;                    // warps that multiply
inline constexpr int kThreads = (kConsumerWarps + 1) * 32;  // + one warp that loads
inline constexpr int kMaxStages = 12;

// kRowTiles_: 16-row tiles of packed (query token, head of the group) rows: 1, 2, 4 or 8; 0: at
// most eight rows, over int8 (narrow.cuh).
template <bool kInt8Kv, int kHeadDim_, int kRowTiles_>
struct Traits {
  using T = __nv_bfloat16;  // of q, P and the output, and of 16-bit KV
  static constexpr bool kInt8 = kInt8Kv;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr bool kNarrow = kRowTiles_ == 0;
  static constexpr int kRowTiles = kNarrow ? 1 : kRowTiles_;
  static constexpr int kWarpRows = kNarrow ? 8 : 16;          // of a warp's tile
  static constexpr int kMergeDims = kNarrow ? kHeadDim : 64;  // reduced across warps per pass
  // Warps that share a row tile split the tokens; one row tile lets two warp groups take
  // alternate tiles, so that a warp never has less than 16 tokens to work on.
  static constexpr int kTokenWarps = kConsumerWarps / kRowTiles;
  static constexpr int kTileGroups = kRowTiles == 1 ? 2 : 1;
  static constexpr int kWarpTokens = kTileTokens * kTileGroups / kTokenWarps;
  // Tokens a warp scores at once: more did not pay (int8, H100) and spills beside 64 rows.
  static constexpr int kStepTokens = 16;
  static constexpr int kWarpsPerTile = kConsumerWarps / kTileGroups;

  static constexpr int kElementBytes = kInt8 ? 1 : 2;
  static constexpr int kRowBytes = kHeadDim * kElementBytes;
  // A swizzled box is at most 128 bytes wide.
  static constexpr int kBoxBytes = kRowBytes < 128 ? kRowBytes : 128;
  static constexpr int kBoxes = kRowBytes / kBoxBytes;
  static constexpr int kTileBytes = kTileTokens * kRowBytes;
  static constexpr int kScaleBytes = kInt8 ? kTileTokens * 4 : 0;
  static constexpr int kStageBytes = 2 * (kTileBytes + kScaleBytes);

  static_assert(!kNarrow || kInt8, "narrow.cuh multiplies int8 keys");
  static_assert(kHeadDim == 64 || kHeadDim == 128, "head sizes the loaders are written for");
  static_assert(kStepTokens % 16 == 0, "a step is a whole number of mma depth blocks");
  static_assert(kTileBytes % 1024 == 0, "swizzled boxes start at 1024-byte boundaries");
};

// Byte offsets in dynamic shared memory. The tiles come first, for their alignment.
template <class Tr>
struct SharedLayout {
  static constexpr int kMergeBytes = kConsumerWarps * Tr::kWarpRows * Tr::kMergeDims * 4;
  static constexpr int kRowStatBytes = kConsumerWarps * Tr::kWarpRows * 4;
  static constexpr int kBarrierBytes = 2 * kMaxStages * 8;
  static constexpr int kWalkBytes = 256;
  static constexpr int kFixedBytes =
      kMergeBytes + 2 * kRowStatBytes + kBarrierBytes + 16 + kWalkBytes;

  __host__ __device__ static constexpr int Scales(int stages) {
    return stages * 2 * Tr::kTileBytes;
  }
  __host__ __device__ static constexpr int Merge(int stages) { return stages * Tr::kStageBytes; }
  __host__ __device__ static constexpr int RowMax(int stages) {
    return Merge(stages) + kMergeBytes;
  }
  __host__ __device__ static constexpr int RowSum(int stages) {
    return RowMax(stages) + kRowStatBytes;
  }
  __host__ __device__ static constexpr int Barriers(int stages) {
    return RowSum(stages) + kRowStatBytes;
  }
  __host__ __device__ static constexpr int Flag(int stages) {
    return Barriers(stages) + kBarrierBytes;
  }
  __host__ __device__ static constexpr int Walk(int stages) { return Flag(stages) + 16; }
  __host__ __device__ static constexpr int Total(int stages) {
    return stages * Tr::kStageBytes + kFixedBytes;
  }
};

// Floats of one worker's slot for an unfinished (sequence, head): O, then m, then l of every row.
// A multiple of four, so that every slot is 16-byte aligned.
__host__ __device__ constexpr std::size_t PartialFloats(int rows, int head_dim) {
  return (static_cast<std::size_t>(rows) * (head_dim + 2) + 3) / 4 * 4;
}

}  // namespace pingti::kernels::decode
