// All-gather: see all_reduce.h for what it does, exchange.cuh for how ranks exchange.
//
// Grid: as sum_kernel.cuh, over the vectors of one rank's stretch. Bytes over NVLink, out and in:
//   (num_ranks - 1) / num_ranks of the matrix.
// Architectures: as sum_kernel.cuh.
#pragma once

#include <cstdint>

#include "kernels/comm/exchange.cuh"
#include "kernels/comm/launch.h"
#include "kernels/comm/row_part.cuh"
#include "kernels/common/mbarrier.cuh"

namespace pingti::kernels {

// x is this rank's stretch, out the whole matrix; both in the same memory.
template <class T, int kRanks>
__global__ void __launch_bounds__(kMaxCommThreads, CommBlocksPerSm(kRanks))
    GatherKernel(const __grid_constant__ CommArgs p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  Exchange<kRanks, /*kTwoShots=*/false> exchange(p.link, 1, p.num_vectors);
  const int first = blockIdx.x * blockDim.x + threadIdx.x;
  const int step = gridDim.x * blockDim.x;
  const auto push = [&](int v) {
    if (v < p.num_vectors) exchange.Push(0, v, LoadPart<T>(p, v));
    exchange.ArmNext();
  };
  push(first);
  exchange.Arrive();
  for (int v = first; v < p.num_vectors; v += step) {
    push(v + step);
    uint4 parts[kRanks];
    exchange.TakeAll(0, v, uint4{}, parts);
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      if (r == p.link.rank) continue;
      StorePart<T>(p, static_cast<T*>(p.out) + int64_t{r} * p.cols, v, parts[r]);
    }
  }
  exchange.Finish();
}

}  // namespace pingti::kernels
