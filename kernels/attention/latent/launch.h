// Host side between the checks of launch.cu and the kernels. Next: kernel.cuh, combine.cuh.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/attention/latent/work.cuh"
#include "kernels/common/status.h"

namespace pingti::kernels::latent {

// How the tiles of rows of a decode step are shared out.
struct DecodeGrid {
  RowPacking packing;
  int blocks_per_worker;  // 1 or 2
  int num_workers;
  int groups;  // of blocks_per_worker tiles of rows, of the longest sequence

  int rows() const { return blocks_per_worker * kTileRows; }  // of a worker
};

inline DecodeGrid MakeDecodeGrid(int num_heads, int max_q_len, int num_sms) {
  DecodeGrid grid;
  grid.packing = PackRows(num_heads);
  const int row_tiles = CeilDiv(max_q_len, grid.packing.tokens) * grid.packing.head_tiles;
  grid.blocks_per_worker = row_tiles == 1 ? 1 : 2;
  grid.num_workers = num_sms / grid.blocks_per_worker;
  grid.groups = CeilDiv(row_tiles, grid.blocks_per_worker);
  return grid;
}

// Launches the kernel on checked tensors; `args` is complete. kInt8: the latents' type. Defined in
// launch_instance.cuh and instantiated by one file each, so that they compile at the same time.
template <class Source, bool kInt8>
cudaError_t LaunchInstance(const LatentTensors& tensors, const Args& args,
                           const typename Source::Args& source, int num_blocks,
                           int blocks_per_worker, cudaStream_t stream);

// Joins the parts of results that more than one worker had a part in. Defined in combine.cu.
cudaError_t LaunchCombine(const Args& args, const DecodeArgs& source, const DecodeGrid& grid,
                          int num_seqs, cudaStream_t stream);

}  // namespace pingti::kernels::latent
