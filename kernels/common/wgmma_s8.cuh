// s8 x s8 -> s32 warpgroup products, m64nNk32: both operands from shared memory, K-major (the only
// layout 8-bit types have). Device code, sm_90a. Accumulation in s32 is exact while |sum| < 2^31,
// that is for K < 131,072 whatever the inputs.
//
// Accumulator layout of thread t of the warpgroup (warp w = t / 32, lane l = t % 32), i = 4j + h:
//   row = 16w + l / 4 + 8 (h / 2),   column = 8j + 2 (l % 4) + h % 2.
// Source: PTX ISA 8.x, "wgmma.mma_async". Read next: wgmma_desc.cuh.
#pragma once

#include <cstdint>

#include "kernels/common/wgmma_desc.cuh"

namespace pingti::kernels {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// D[64, kN] = A[64, 32] B[kN, 32]^T (+ D if accumulate). D is `acc`, kN / 2 registers per thread.
template <int kN>
struct WgmmaS8;

// PINGTI_Sn: placeholders of accumulators 16n..16n+15. PINGTI_Rn(i): their bindings from i on.
#define PINGTI_S0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define PINGTI_S1 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define PINGTI_S2 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define PINGTI_S3 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define PINGTI_S4 "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define PINGTI_S5 "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define PINGTI_S6 \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define PINGTI_S7 \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define PINGTI_R4(i) "+r"(acc[i]), "+r"(acc[i + 1]), "+r"(acc[i + 2]), "+r"(acc[i + 3])
#define PINGTI_R16(i) PINGTI_R4(i), PINGTI_R4(i + 4), PINGTI_R4(i + 8), PINGTI_R4(i + 12)
#define PINGTI_R64(i) PINGTI_R16(i), PINGTI_R16(i + 16), PINGTI_R16(i + 32), PINGTI_R16(i + 48)

#define PINGTI_WGMMA_S8(N, PLACEHOLDERS, A, B, P, ...)                                           \
  template <>                                                                                    \
  struct WgmmaS8<N> {                                                                            \
    static constexpr int kRegisters = N / 2;                                                     \
    static __device__ __forceinline__ void Run(int32_t (&acc)[N / 2], uint64_t a, uint64_t b,    \
                                               bool accumulate) {                                \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P                                         \
                   ", 0;\n"                                                                      \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k32.s32.s8.s8 {" PLACEHOLDERS "}, " A \
                   ", " B ", p;\n}"                                                              \
                   : __VA_ARGS__                                                                 \
                   : "l"(a), "l"(b), "r"(static_cast<int32_t>(accumulate)));                     \
    }                                                                                            \
  };

PINGTI_WGMMA_S8(8, "%0, %1, %2, %3", "%4", "%5", "%6", PINGTI_R4(0))
PINGTI_WGMMA_S8(16, "%0, %1, %2, %3, %4, %5, %6, %7", "%8", "%9", "%10", PINGTI_R4(0), PINGTI_R4(4))
PINGTI_WGMMA_S8(32, PINGTI_S0, "%16", "%17", "%18", PINGTI_R16(0))
PINGTI_WGMMA_S8(64, PINGTI_S0 ", " PINGTI_S1, "%32", "%33", "%34", PINGTI_R16(0), PINGTI_R16(16))
PINGTI_WGMMA_S8(96, PINGTI_S0 ", " PINGTI_S1 ", " PINGTI_S2, "%48", "%49", "%50", PINGTI_R16(0),
                PINGTI_R16(16), PINGTI_R16(32))
PINGTI_WGMMA_S8(128, PINGTI_S0 ", " PINGTI_S1 ", " PINGTI_S2 ", " PINGTI_S3, "%64", "%65", "%66",
                PINGTI_R64(0))
PINGTI_WGMMA_S8(160, PINGTI_S0 ", " PINGTI_S1 ", " PINGTI_S2 ", " PINGTI_S3 ", " PINGTI_S4, "%80",
                "%81", "%82", PINGTI_R64(0), PINGTI_R16(64))
PINGTI_WGMMA_S8(192,
                PINGTI_S0 ", " PINGTI_S1 ", " PINGTI_S2 ", " PINGTI_S3 ", " PINGTI_S4
                          ", " PINGTI_S5,
                "%96", "%97", "%98", PINGTI_R64(0), PINGTI_R16(64), PINGTI_R16(80))
PINGTI_WGMMA_S8(256,
                PINGTI_S0 ", " PINGTI_S1 ", " PINGTI_S2 ", " PINGTI_S3 ", " PINGTI_S4 ", " PINGTI_S5
                          ", " PINGTI_S6 ", " PINGTI_S7,
                "%128", "%129", "%130", PINGTI_R64(0), PINGTI_R64(64))

#undef PINGTI_S0
#undef PINGTI_S1
#undef PINGTI_S2
#undef PINGTI_S3
#undef PINGTI_S4
#undef PINGTI_S5
#undef PINGTI_S6
#undef PINGTI_S7
#undef PINGTI_R4
#undef PINGTI_R16
#undef PINGTI_R64
#undef PINGTI_WGMMA_S8

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace pingti::kernels
