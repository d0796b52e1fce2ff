// All-reduce alone: see all_reduce.h for the formula, exchange.cuh for how ranks exchange.
//
// Grid: at most max_blocks blocks of 128 to 512 threads, which share the matrix's vectors of 16
//   bytes (the last one of a row may be shorter); each vector is loaded, pushed, and summed by the
//   same thread, or by one that waits for it, so that out may be x.
// Bytes over NVLink, out and in: one shot (num_ranks - 1) * size; two shots
//   2 * (num_ranks - 1) / num_ranks * size. Bound by one (two) NVLink latencies while small.
// Tolerance: the sum in float in rank order, rounded once, bit for bit.
// Architectures: sm_80 and newer with peer access; on sm_90 its start overlaps the kernel before.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/comm/exchange.cuh"
#include "kernels/comm/launch.h"
#include "kernels/comm/row_part.cuh"
#include "kernels/common/mbarrier.cuh"

namespace pingti::kernels {

// One shot: every rank sums everything, pushing one step ahead.
template <class T, class Exchange>
__device__ __forceinline__ void SumAll(const CommArgs& p, int first, int step, Exchange* exchange) {
  uint4 own{};
  const auto push = [&](int v) {
    if (v < p.num_vectors) {
      own = LoadPart<T>(p, v);
      exchange->Push(0, v, own);
    }
    exchange->ArmNext();
  };
  push(first);
  exchange->Arrive();
  for (int v = first; v < p.num_vectors; v += step) {
    const uint4 current = own;
    push(v + step);
    StorePart<T>(p, static_cast<T*>(p.out), v, exchange->template Take<T>(0, v, current));
  }
}

// Two shots: each rank sums a stretch and hands it out.
template <class T, class Exchange>
__device__ __forceinline__ void SumByStretches(const CommArgs& p, int first, int step,
                                               Exchange* exchange) {
  for (int v = first; v < p.num_vectors; v += step) {
    exchange->Push(0, v, LoadPart<T>(p, v));
    exchange->ArmNext();
  }
  exchange->Arrive();
  for (int i = first; i < exchange->stretch_count(); i += step) {
    const int v = exchange->stretch_first() + i;
    exchange->template Relay<T>(0, v, LoadPart<T>(p, v));
  }
  for (int v = first; v < p.num_vectors; v += step) {
    StorePart<T>(p, static_cast<T*>(p.out), v, exchange->template Take<T>(0, v, uint4{}));
  }
}

template <class T, int kRanks, bool kTwoShots>
__global__ void __launch_bounds__(kMaxCommThreads, CommBlocksPerSm(kRanks))
    SumKernel(const __grid_constant__ CommArgs p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  Exchange<kRanks, kTwoShots> exchange(p.link, 1, p.num_vectors);
  const int first = blockIdx.x * blockDim.x + threadIdx.x;
  const int step = gridDim.x * blockDim.x;
  if constexpr (kTwoShots) {
    SumByStretches<T>(p, first, step, &exchange);
  } else {
    SumAll<T>(p, first, step, &exchange);
  }
  exchange.Finish();
}

}  // namespace pingti::kernels
