// All-reduce alone: see all_reduce.h for the formula, exchange.cuh for how ranks exchange.
//
// Grid: at most max_blocks blocks of 128 to 512 threads, which share the matrix's vectors of 16
//   bytes (the last one of a row may be shorter); each vector is loaded, pushed and stored by the
//   same thread, so that out may be x.
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
__device__ __forceinline__ void SumAll(const CommArgs& p, Exchange* exchange) {
  const int first = blockIdx.x * blockDim.x + threadIdx.x;
  const int step = gridDim.x * blockDim.x;
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

// Two shots: of each row of num_ranks stretches, each rank sums a stretch and hands it out. A
// thread has a vector of each of a row's stretches; it pushes two steps and hands out one step
// ahead.
template <class T, int kRanks>
__device__ __forceinline__ void SumByStretches(const CommArgs& p,
                                               Exchange<kRanks, true>* exchange) {
  const int rows_per_block = blockDim.x / kSumStretch;
  const int first_row = blockIdx.x * rows_per_block + threadIdx.x / kSumStretch;
  const int step = gridDim.x * rows_per_block;
  const int i = threadIdx.x % kSumStretch;
  // Where stretch `r`'s vector of `row` is in the matrix; not below num_vectors: there is none.
  const auto at = [&](int row, int r) { return (row * kRanks + r) * kSumStretch + i; };
  const auto push = [&](int row) {
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      const int v = at(row, r);
      if (v < p.num_vectors) exchange->Push(row, r * kSumStretch + i, LoadPart<T>(p, v));
      exchange->ArmNext();
    }
  };
  const auto relay = [&](int row) {
    const int v = at(row, p.link.rank);
    if (v >= p.num_vectors) return;
    exchange->template Relay<T>(row, p.link.rank * kSumStretch + i, LoadPart<T>(p, v));
  };
  push(first_row);
  exchange->Arrive();
  push(first_row + step);
  relay(first_row);
  for (int row = first_row; at(row, 0) < p.num_vectors; row += step) {
    push(row + 2 * step);
    relay(row + step);
    int count = 0;
    while (count < kRanks && at(row, count) < p.num_vectors) ++count;
    uint4 sums[kRanks];
    exchange->TakeStretches(row, i, count, sums);
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      if (r < count) StorePart<T>(p, static_cast<T*>(p.out), at(row, r), sums[r]);
    }
  }
}

template <class T, int kRanks, bool kTwoShots>
__global__ void __launch_bounds__(kMaxCommThreads, CommBlocksPerSm(kRanks))
    SumKernel(const __grid_constant__ CommArgs p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  if constexpr (kTwoShots) {
    constexpr int kRow = kRanks * kSumStretch;
    Exchange<kRanks, true> exchange(p.link, (p.num_vectors + kRow - 1) / kRow, kRow);
    SumByStretches<T>(p, &exchange);
    exchange.Finish();
  } else {
    Exchange<kRanks, false> exchange(p.link, 1, p.num_vectors);
    SumAll<T>(p, &exchange);
    exchange.Finish();
  }
}

}  // namespace pingti::kernels
