// The CPU backend's kernels for any processor.
#define PINGTI_CPU_ISA portable
#define PINGTI_CPU_ISA_NAME "portable"
#include "worker/backend/cpu/kernels_impl.h"
