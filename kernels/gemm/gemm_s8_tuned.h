// Measured variants of the int8 GEMM. Generated: bench_gemm_s8_autotune prints this file.
// Device: NVIDIA H100 80GB HBM3.
#pragma once

#include "kernels/gemm/gemm_s8_table.h"

namespace pingti::kernels {

// The fastest variant for an exact n and k and for m above the entry before, up to max_m.
struct GemmS8TunedEntry {
  int n, k, max_m;
  GemmS8Variant variant;
};

inline constexpr int kGemmS8TunedComputeCapability = 90;
inline constexpr GemmS8TunedEntry kGemmS8Tuned[] = {
    {8192, 8192, 64, {GemmS8Family::kStream, 64, 2, 9, 0}},  // o
};

}  // namespace pingti::kernels
