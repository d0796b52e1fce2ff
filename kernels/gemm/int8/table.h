// Which variant of the int8 GEMM a shape gets: plain host arithmetic over a small table, so that
// the choice can be printed, tested and regenerated (bench/kernels/gemm/gemm_s8_autotune.cu). Pure
// functions, thread-safe. Read next: launch.h in int8/stream, int8/split, int8/tile and int8/mma.
#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "kernels/common/status.h"
#include "kernels/include/pingti/kernels/gemm_s8.h"

namespace pingti::kernels {

enum class GemmS8Family {
  kStream,  // sm_90a, m <= 256: weights as wgmma's M, stream-K
  kSplit,   // sm_90a, m <= 128: the same in clusters that share a tile's k
  kTile,    // sm_90a, prefill tiles of 128 x block
  kMma,     // sm_80 and later, mma.sync tiles of block x 128
};

struct GemmS8Variant {
  GemmS8Family family = GemmS8Family::kTile;
  // kStream, kSplit: token tile. kTile: output columns of a tile. kMma: its rows.
  int block = 0;
  // Blocks that share: kStream: tokens. kSplit: a tile's k. kTile: a w tile.
  int cluster = 1;
  int stages = 0;   // kStream, kSplit: depth of the pipeline
  int group_m = 0;  // kTile: cluster rows walked before moving along n
};

// Every variant that can run m tokens on a device of this compute capability.
std::vector<GemmS8Variant> GemmS8Variants(int m, int compute_capability);

// The fastest variant for an exact n and k and for m above the entry before, up to max_m.
struct GemmS8TunedEntry {
  int n, k, max_m;
  GemmS8Variant variant;
};

// The table's choice: as measured on a card of this kind where the shape was measured, else by a
// rule. `m`, `n`, `k` positive.
GemmS8Variant PickGemmS8Variant(int m, int n, int k, const DeviceTraits& device);

// Checks the params and launches this variant, whatever the table says. For tests and benches.
cudaError_t LaunchGemmS8Variant(const GemmS8Params& params, const GemmS8Variant& variant,
                                cudaStream_t stream);

const char* GemmS8FamilyName(GemmS8Family family);

}  // namespace pingti::kernels
