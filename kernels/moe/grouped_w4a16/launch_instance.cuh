// Launcher of one instance of the weight-only grouped GEMM. Included only by instances/.
#pragma once

#include <algorithm>

#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "kernels/moe/grouped_w4a16/kernel.cuh"

namespace pingti::kernels {

template <int kBits, int kTokens, int kSteps, bool kIsFloat, int kSplit>
cudaError_t LaunchGroupedW4A16As(const GroupedW4A16Args& args, int row_blocks,
                                 cudaStream_t stream) {
  using Traits = GroupedW4A16Traits<kBits, kTokens, kSteps, kIsFloat, kSplit>;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  auto* kernel = GroupedW4A16Kernel<Traits, kSplit>;
  PINGTI_CUDA_RETURN(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          kGroupedW4A16SharedBytes<Traits, kSplit>));
  const dim3 grid(kSplit * CeilDiv(args.product.n, Traits::kBlockRows),
                  std::min(args.num_experts, args.num_rows), row_blocks);
  return LaunchOverlapped(kernel, grid, dim3(Traits::kThreads),
                          kGroupedW4A16SharedBytes<Traits, kSplit>, stream,
                          device.compute_capability, args, kSplit);
}

}  // namespace pingti::kernels
