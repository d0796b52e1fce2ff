// Matrices as vectors of 16 bytes, the last one of a row perhaps in part: how sums and gathers load
// and store them. Device code.
#pragma once

#include <cstdint>

#include "kernels/comm/launch.h"

namespace pingti::kernels {

// Elements [first, first + 16 / sizeof(T)) of the matrix's row that lie within it.
template <class T>
struct RowPart {
  int64_t row;
  int first;
  bool is_whole;  // all of it lies within the row, and may be moved as 16 bytes
};

template <class T>
__device__ __forceinline__ RowPart<T> PartAt(const CommArgs& p, int v) {
  constexpr int kElements = 16 / sizeof(T);
  const uint32_t at = p.first_vector + v;
  const uint32_t row = at / p.vectors_per_row;
  const int first = static_cast<int>(at - row * p.vectors_per_row) * kElements;
  return {row, first, p.is_aligned && first + kElements <= p.cols};
}

// Vector `v` of x; 0 past the end of its row.
template <class T>
__device__ __forceinline__ uint4 LoadPart(const CommArgs& p, int v) {
  const RowPart<T> part = PartAt<T>(p, v);
  const T* const from = static_cast<const T*>(p.x) + part.row * p.x_stride + part.first;
  if (part.is_whole) return *reinterpret_cast<const uint4*>(from);
  constexpr int kElements = 16 / sizeof(T);
  alignas(16) T elements[kElements];
#pragma unroll
  for (int i = 0; i < kElements; ++i) elements[i] = part.first + i < p.cols ? from[i] : T(0.0f);
  return *reinterpret_cast<const uint4*>(elements);
}

// Stores vector `v` of a matrix at `out`.
template <class T>
__device__ __forceinline__ void StorePart(const CommArgs& p, T* out, int v, uint4 value) {
  const RowPart<T> part = PartAt<T>(p, v);
  T* const to = out + part.row * p.out_stride + part.first;
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

}  // namespace pingti::kernels
