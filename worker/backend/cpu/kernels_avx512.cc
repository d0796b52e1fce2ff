// The CPU backend's kernels for AVX-512 with VNNI.
#define PINGTI_CPU_ISA avx512
#define PINGTI_CPU_ISA_NAME "avx512"
#include "worker/backend/cpu/kernels_impl.h"
