// Which variant of the grouped GEMM a product gets: plain host arithmetic, so that the choice can
// be printed, tested and timed. Pure functions, thread-safe. Read next: launch.h in mma and tile.
#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "kernels/common/status.h"
#include "pingti/kernels/moe.h"

namespace pingti::kernels {

enum class GroupedGemmFamily {
  kMma,   // sm_80 and later, mma.sync tiles of so many rows
  kTile,  // sm_90a, wgmma tiles of rows x columns
};

struct GroupedGemmVariant {
  GroupedGemmFamily family = GroupedGemmFamily::kMma;
  int rows = 0;     // of a tile
  int columns = 0;  // kTile
  int cluster = 1;  // kTile: blocks that share a tile of weights
};

// Every variant that can run these params on a device of this compute capability.
std::vector<GroupedGemmVariant> GroupedGemmVariants(const GroupedGemmParams& params,
                                                    int compute_capability);

// The choice for valid params, by sizes and by how many rows an expert is expected to have.
GroupedGemmVariant PickGroupedGemmVariant(const GroupedGemmParams& params,
                                          const DeviceTraits& device);

// Checks the params and launches this variant, whatever the table says. For tests and benches.
// cudaErrorNotSupported: not one of GroupedGemmVariants.
cudaError_t LaunchGroupedGemmVariant(const GroupedGemmParams& params,
                                     const GroupedGemmVariant& variant, cudaStream_t stream);

}  // namespace pingti::kernels
