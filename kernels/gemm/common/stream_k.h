// How stream-K divides output tiles among blocks: all k-blocks of all tiles form one line of units,
// cut into equal contiguous ranges. Plain arithmetic, host and device, no state.
//
// A range that starts or ends inside a tile is a partial segment; a block has at most two of them,
// its first and its last. The tile's segments are held by consecutive blocks, and the block with
// the tile's first unit names it (`Owner`), which is unique because a block leaves at most one tile
// unfinished at its end.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>

namespace pingti::kernels {

struct StreamK {
  int units;   // tiles * k_blocks
  int blocks;  // at least 1

  // units * blocks is below 2^32 (StreamKBlocks). With a multiple of the tiles for blocks, ranges
  // end where tiles end, whatever the number of k-blocks.
  __host__ __device__ int Start(int block) const {
    return static_cast<int>(static_cast<unsigned>(block) * static_cast<unsigned>(units) /
                            static_cast<unsigned>(blocks));
  }

  // Block whose range holds `unit`: the last with Start(block) <= unit.
  __host__ __device__ int Owner(int unit) const {
    return static_cast<int>((static_cast<unsigned>(unit + 1) * static_cast<unsigned>(blocks) - 1) /
                            static_cast<unsigned>(units));
  }
};

// How many of at most `max_blocks` blocks to use. Where whole blocks per tile use nearly all of
// them, ranges that end where tiles end leave fewer partial sums. Measured on an H100: at 91 % of
// the blocks that is 15 % faster for a 38 us product (W8A16, m = 16), at 82 to 85 % 3 to 12 % for
// int8 ones of 8 to 13 us and neither here nor there for one of 26 us; at 61 % it is 8 % slower.
inline int StreamKBlocks(int tiles, int k_blocks, int max_blocks) {
  constexpr int kNearlyAllPercent = 80;
  const int per_tile = max_blocks / tiles;
  const int aligned = tiles * per_tile;
  const auto units = static_cast<unsigned long long>(tiles) * k_blocks;
  if (per_tile >= 1 && per_tile <= k_blocks && 100 * aligned >= kNearlyAllPercent * max_blocks) {
    max_blocks = aligned;
  }
  // Few of huge products, so that Start and Owner stay within 32 bits.
  const unsigned long long most = 0xFFFFFFFFull / units;
  return static_cast<int>(std::min<unsigned long long>({units, most, max_blocks + 0ull}));
}

}  // namespace pingti::kernels
