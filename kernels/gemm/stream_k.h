// How stream-K divides output tiles among blocks: all k-blocks of all tiles form one line of units,
// cut into equal contiguous ranges. Plain arithmetic, host and device, no state.
//
// A range that starts or ends inside a tile is a partial segment; a block has at most two of them,
// its first and its last. The tile's segments are held by consecutive blocks, and the block with
// the tile's first unit names it (`Owner`), which is unique because a block leaves at most one tile
// unfinished at its end.
#pragma once

#include <cuda_runtime_api.h>

namespace pingti::kernels {

struct StreamK {
  int units;   // tiles * k_blocks
  int blocks;  // at least 1

  __host__ __device__ int Start(int block) const {
    const int base = units / blocks;
    const int extra = units % blocks;
    return block * base + (block < extra ? block : extra);
  }

  // Block whose range holds `unit`.
  __host__ __device__ int Owner(int unit) const {
    const int base = units / blocks;
    const int extra = units % blocks;
    const int long_units = extra * (base + 1);
    return unit < long_units ? unit / (base + 1) : extra + (unit - long_units) / base;
  }
};

// How many of at most `max_blocks` blocks to use. Where whole blocks a tile use nearly all of them,
// ranges that end where tiles end leave fewer partial sums; that pays while a block has little to
// do (on an H100: 2 % of a 28 us product, but a loss of 2 % for one of 90 us).
inline int StreamKBlocks(int tiles, int k_blocks, int max_blocks) {
  constexpr int kShortRange = 64;
  const int per_tile = max_blocks / tiles;
  const int aligned = tiles * per_tile;
  if (per_tile >= 1 && per_tile <= k_blocks && k_blocks < kShortRange * per_tile &&
      100 * aligned >= 96 * max_blocks) {
    return aligned;
  }
  const long long units = static_cast<long long>(tiles) * k_blocks;
  return units < max_blocks ? static_cast<int>(units) : max_blocks;
}

}  // namespace pingti::kernels
