// The CPU backend's kernels for AVX2 with FMA and F16C.
#define PINGTI_CPU_ISA avx2
#define PINGTI_CPU_ISA_NAME "avx2"
#include "worker/backend/cpu/kernels_impl.h"
