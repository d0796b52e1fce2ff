// All-reduce alone: see all_reduce.h for the formula, exchange.cuh for how ranks exchange.
//
// Grid: at most max_blocks blocks of 128 to 512 threads, which share the matrix's vectors of 16
//   bytes (the last one of a row may be shorter); each vector is loaded, pushed, and summed by the
//   same thread, in two loops, so that out may be x.
// Bytes over NVLink, out and in: one shot (num_ranks - 1) * size; two shots
//   2 * (num_ranks - 1) / num_ranks * size. Bound by one (two) NVLink latencies while small.
// Tolerance: the sum in float in rank order, rounded once, bit for bit.
// Architectures: sm_80 and newer with peer access; on sm_90 its start overlaps the kernel before.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/comm/exchange.cuh"
#include "kernels/comm/launch.h"
#include "kernels/common/mbarrier.cuh"

namespace pingti::kernels {

// Elements [first, first + 16 / sizeof(T)) of the matrix's row that lie within it.
template <class T>
struct RowPart {
  int64_t row;
  int first;
  bool is_whole;  // all of it lies within the row, and may be moved as 16 bytes
};

template <class T>
__device__ __forceinline__ RowPart<T> PartAt(const SumArgs& p, int v) {
  constexpr int kElements = 16 / sizeof(T);
  const uint32_t at = p.first_vector + v;
  const uint32_t row = at / p.vectors_per_row;
  const int first = static_cast<int>(at - row * p.vectors_per_row) * kElements;
  return {row, first, p.is_aligned && first + kElements <= p.cols};
}

template <class T>
__device__ __forceinline__ uint4 LoadPart(const SumArgs& p, int v) {
  const RowPart<T> part = PartAt<T>(p, v);
  const T* const from = static_cast<const T*>(p.x) + part.row * p.x_stride + part.first;
  if (part.is_whole) return *reinterpret_cast<const uint4*>(from);
  constexpr int kElements = 16 / sizeof(T);
  alignas(16) T elements[kElements];
#pragma unroll
  for (int i = 0; i < kElements; ++i) elements[i] = part.first + i < p.cols ? from[i] : T(0.0f);
  return *reinterpret_cast<const uint4*>(elements);
}

template <class T>
__device__ __forceinline__ void StorePart(const SumArgs& p, int v, uint4 value) {
  const RowPart<T> part = PartAt<T>(p, v);
  T* const to = static_cast<T*>(p.out) + part.row * p.out_stride + part.first;
  if (part.is_whole) {
    *reinterpret_cast<uint4*>(to) = value;
    return;
  }
  constexpr int kElements = 16 / sizeof(T);
  const T* const elements = reinterpret_cast<const T*>(&value);
#pragma unroll
  for (int i = 0; i < kElements; ++i) {
    if (part.first + i < p.cols) to[i] = elements[i];
  }
}

template <class T, int kRanks, bool kTwoShots>
__global__ void __launch_bounds__(kMaxCommThreads, CommBlocksPerSm(kRanks))
    SumKernel(const __grid_constant__ SumArgs p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  Exchange<kRanks, kTwoShots> exchange(p.link, 1, p.num_vectors);
  const int first = blockIdx.x * blockDim.x + threadIdx.x;
  const int step = gridDim.x * blockDim.x;
  for (int v = first; v < p.num_vectors; v += step) exchange.Push(0, v, LoadPart<T>(p, v));
  exchange.ArmAndArrive();
  if constexpr (kTwoShots) {
    for (int i = first; i < exchange.stretch_count(); i += step) {
      const int v = exchange.stretch_first() + i;
      exchange.template Relay<T>(0, v, LoadPart<T>(p, v));
    }
  }
  for (int v = first; v < p.num_vectors; v += step) {
    const uint4 own = kTwoShots ? uint4{} : LoadPart<T>(p, v);
    StorePart<T>(p, v, exchange.template Take<T>(0, v, own));
  }
  exchange.Finish();
}

}  // namespace pingti::kernels
