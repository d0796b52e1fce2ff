// Warp-level matrix products and the loads and conversions around them, for every card from sm_80
// on: mma.sync on 16-bit and int8 inputs, ldmatrix, movmatrix, packing of pairs, exp2.
//
// Fragments of lane l (g = l / 4, t = l % 4):
//   A[16, 16]: a[0] row g, columns 2t, 2t + 1; a[1] row g + 8; a[2], a[3] the same, columns + 8.
//   B[16, 8]: b0 rows 2t, 2t + 1 of column g; b1 rows + 8.
//   D[16, 8]: d[0], d[1] row g, columns 2t, 2t + 1; d[2], d[3] row g + 8.
//
// Source: PTX ISA 8.x, "mma.sync" m16n8k16 and m16n8k32, "ldmatrix", "movmatrix". Read next:
// cp_async.cuh.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/common/mbarrier.cuh"

namespace pingti::kernels {

// Four 8x8 matrices of 16-bit elements; lane 8 i + r gives the address of row r of matrix i
// (16-byte aligned), as a shared-window address or a pointer. r[i]: of matrix i, row l / 4, columns
// 2 (l % 4) and the next.
__device__ __forceinline__ void LoadMatrix4(uint32_t (&r)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}
__device__ __forceinline__ void LoadMatrix4(uint32_t (&r)[4], const void* row) {
  LoadMatrix4(r, SmemAddress(row));
}

// The same, each matrix transposed: r[i] is rows 2 (l % 4) and the next of column l / 4.
__device__ __forceinline__ void LoadMatrix4Transposed(uint32_t (&r)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}
__device__ __forceinline__ void LoadMatrix4Transposed(uint32_t (&r)[4], const void* row) {
  LoadMatrix4Transposed(r, SmemAddress(row));
}

// d += A B. T: __nv_bfloat16 or __half.
template <typename T>
__device__ __forceinline__ void Mma16816(float* d, const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7},"
        " {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7},"
        " {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// d += A B in integers, with A [16, 32] and B [32, 8] int8: a[0] row g, columns 4t to 4t + 3; a[1]
// row g + 8; a[2], a[3] the same, columns + 16; b0 rows 4t to 4t + 3 of column g; b1 rows + 16.
__device__ __forceinline__ void Mma16832(int32_t* d, const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7},"
      " {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Transposes an 8x8 matrix of 16-bit elements, of which lane l holds row l / 4, columns 2 (l % 4)
// and the next.
__device__ __forceinline__ uint32_t Transpose8x8(uint32_t pair) {
  uint32_t out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(pair));
  return out;
}

// 2^x to about 2 ulp; results below the normal range are zero.
__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Two values rounded to nearest, `low` in the low half.
template <typename T>
__device__ __forceinline__ uint32_t PackPair(float low, float high) {
  uint32_t packed;
  if constexpr (std::is_same_v<T, __half>) {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  }
  return packed;
}

}  // namespace pingti::kernels
