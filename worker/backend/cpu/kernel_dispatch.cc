#include "worker/backend/cpu/cpu_kernels.h"

namespace pingti::worker::cpu {

namespace portable {
const CpuKernels* Kernels();
}
#if defined(__x86_64__)
namespace avx2 {
const CpuKernels* Kernels();
}
namespace avx512 {
const CpuKernels* Kernels();
}
#endif

namespace {

#if defined(__x86_64__)
bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}

bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}
#endif

}  // namespace

const CpuKernels* PortableKernels() { return portable::Kernels(); }

const CpuKernels* KernelsByName(std::string_view name) {
  if (name == "portable") return PortableKernels();
#if defined(__x86_64__)
  if (name == "avx2") return HasAvx2() ? avx2::Kernels() : nullptr;
  if (name == "avx512") return HasAvx512() ? avx512::Kernels() : nullptr;
#endif
  return nullptr;
}

const CpuKernels* BestKernels() {
  for (std::string_view name : {"avx512", "avx2"}) {
    if (const CpuKernels* kernels = KernelsByName(name)) return kernels;
  }
  return PortableKernels();
}

}  // namespace pingti::worker::cpu
