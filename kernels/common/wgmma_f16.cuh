// 16-bit wgmma products (bf16 or fp16 in, f32 out): D[64, kN] (+)= A[64, 16] B[16, kN].
// A comes from shared memory (descriptor, K-major) or from registers (four packed pairs a thread);
// B always from shared memory, K-major ([kN, 16] rows) or, with kTransposeB, kN-major ([16, kN]
// rows), which 16-bit types alone allow. Device code, sm_90a.
//
// Accumulator of thread t (warp w = t / 32 of 4, lane l): acc[4j + 2r + e] is row 16w + l/4 + 8r,
// column 8j + 2(l % 4) + e. Source: PTX ISA 8.x, "wgmma.mma_async", register fragments.
// Read next: wgmma_desc.cuh (descriptors, fence, commit, wait).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/common/wgmma_desc.cuh"

namespace pingti::kernels {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// T: __nv_bfloat16 or __half. kN: 8, 16, 32, 64, 128 or 256.
template <typename T, int kN>
struct WgmmaF16;

#define PINGTI_D4(i) "+f"(acc[i]), "+f"(acc[i + 1]), "+f"(acc[i + 2]), "+f"(acc[i + 3])
#define PINGTI_D16(i) PINGTI_D4(i), PINGTI_D4(i + 4), PINGTI_D4(i + 8), PINGTI_D4(i + 12)
#define PINGTI_D32(i) PINGTI_D16(i), PINGTI_D16(i + 16)
#define PINGTI_D64(i) PINGTI_D32(i), PINGTI_D32(i + 32)
#define PINGTI_D128(i) PINGTI_D64(i), PINGTI_D64(i + 64)
#define PINGTI_P4 "%0, %1, %2, %3"
#define PINGTI_P8 PINGTI_P4 ", %4, %5, %6, %7"
#define PINGTI_P16 PINGTI_P8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define PINGTI_P32 \
  PINGTI_P16       \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define PINGTI_P64                                                                   \
  PINGTI_P32                                                                         \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define PINGTI_P128                                                                              \
  PINGTI_P64                                                                                     \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"             \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"             \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, " \
  "%127"

// One instruction. P0..P5: placeholders of the six operands after the accumulators.
#define PINGTI_WGMMA_SS(N, TYPE, PLACEHOLDERS, P0, P1, P2, P3, ...)                              \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P2                                            \
               ", 0;\n"                                                                          \
               "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" PLACEHOLDERS \
               "}, " P0 ", " P1 ", p, 1, 1, 0, " P3 ";\n}"                                       \
               : __VA_ARGS__                                                                     \
               : "l"(a), "l"(b), "r"(static_cast<int32_t>(accumulate)),                          \
                 "n"(static_cast<int32_t>(kTransposeB)))
#define PINGTI_WGMMA_RS(N, TYPE, PLACEHOLDERS, P0, P1, P2, P3, P4, P5, P6, ...)                  \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P5                                            \
               ", 0;\n"                                                                          \
               "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" PLACEHOLDERS \
               "}, {" P0 ", " P1 ", " P2 ", " P3 "}, " P4 ", p, 1, 1, " P6 ";\n}"                \
               : __VA_ARGS__                                                                     \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b),                             \
                 "r"(static_cast<int32_t>(accumulate)), "n"(static_cast<int32_t>(kTransposeB)))

#define PINGTI_WGMMA_F16(N, PLACEHOLDERS, Q0, Q1, Q2, Q3, Q4, Q5, Q6, ...)                  \
  template <typename T>                                                                     \
  struct WgmmaF16<T, N> {                                                                   \
    static constexpr int kRegisters = N / 2;                                                \
    template <bool kTransposeB>                                                             \
    static __device__ __forceinline__ void Run(float (&acc)[N / 2], uint64_t a, uint64_t b, \
                                               bool accumulate) {                           \
      if constexpr (std::is_same_v<T, __half>) {                                            \
        PINGTI_WGMMA_SS(N, "f16", PLACEHOLDERS, Q0, Q1, Q2, Q3, __VA_ARGS__);               \
      } else {                                                                              \
        PINGTI_WGMMA_SS(N, "bf16", PLACEHOLDERS, Q0, Q1, Q2, Q3, __VA_ARGS__);              \
      }                                                                                     \
    }                                                                                       \
    template <bool kTransposeB>                                                             \
    static __device__ __forceinline__ void Run(float (&acc)[N / 2], const uint32_t (&a)[4], \
                                               uint64_t b, bool accumulate) {               \
      if constexpr (std::is_same_v<T, __half>) {                                            \
        PINGTI_WGMMA_RS(N, "f16", PLACEHOLDERS, Q0, Q1, Q2, Q3, Q4, Q5, Q6, __VA_ARGS__);   \
      } else {                                                                              \
        PINGTI_WGMMA_RS(N, "bf16", PLACEHOLDERS, Q0, Q1, Q2, Q3, Q4, Q5, Q6, __VA_ARGS__);  \
      }                                                                                     \
    }                                                                                       \
  };

PINGTI_WGMMA_F16(8, PINGTI_P4, "%4", "%5", "%6", "%7", "%8", "%9", "%10", PINGTI_D4(0))
PINGTI_WGMMA_F16(16, PINGTI_P8, "%8", "%9", "%10", "%11", "%12", "%13", "%14", PINGTI_D4(0),
                 PINGTI_D4(4))
PINGTI_WGMMA_F16(32, PINGTI_P16, "%16", "%17", "%18", "%19", "%20", "%21", "%22", PINGTI_D16(0))
PINGTI_WGMMA_F16(64, PINGTI_P32, "%32", "%33", "%34", "%35", "%36", "%37", "%38", PINGTI_D32(0))
PINGTI_WGMMA_F16(128, PINGTI_P64, "%64", "%65", "%66", "%67", "%68", "%69", "%70", PINGTI_D64(0))
PINGTI_WGMMA_F16(256, PINGTI_P128, "%128", "%129", "%130", "%131", "%132", "%133", "%134",
                 PINGTI_D128(0))

#undef PINGTI_WGMMA_F16
#undef PINGTI_WGMMA_RS
#undef PINGTI_WGMMA_SS
#undef PINGTI_P128
#undef PINGTI_P64
#undef PINGTI_P32
#undef PINGTI_P16
#undef PINGTI_P8
#undef PINGTI_P4
#undef PINGTI_D128
#undef PINGTI_D64
#undef PINGTI_D32
#undef PINGTI_D16
#undef PINGTI_D4

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace pingti::kernels
