// The kernels for one number of ranks: included by each file of instances/.
#pragma once

#include "kernels/comm/gather_kernel.cuh"
#include "kernels/comm/launch.h"
#include "kernels/comm/norm_kernel.cuh"
#include "kernels/comm/sum_kernel.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/row_launch.h"

namespace pingti::kernels {

// Kernels that started early would take the room of another rank's, for which they then wait.
inline bool HasDeviceAlone(const AllReduceLink& link) { return link.max_blocks == 0; }

// Calls run(two shots?) with the answer as a compile-time constant. Two ranks have no use for two
// shots: each would send as much.
template <int kRanks, typename Run>
cudaError_t WithShots(int shots, const Run& run) {
  if constexpr (kRanks > 2) {
    if (shots == 2) return run(std::true_type());
  }
  return shots == 1 ? run(std::false_type()) : cudaErrorInvalidValue;
}

template <int kRanks>
cudaError_t LaunchSumKernel(const CommArgs& args, DType dtype, const CommLaunch& launch,
                            cudaStream_t stream) {
  return WithShots<kRanks>(launch.shots, [&](auto two) {
    constexpr bool kTwoShots = decltype(two)::value;
    const auto kernel = dtype == DType::kF32 ? SumKernel<float, kRanks, kTwoShots>
                                             : SumKernel<__nv_bfloat16, kRanks, kTwoShots>;
    return LaunchOverlapped(kernel, dim3(launch.blocks), dim3(launch.threads), 0, stream,
                            launch.compute_capability, args, 1, HasDeviceAlone(args.link));
  });
}

template <int kRanks>
cudaError_t LaunchGatherKernel(const CommArgs& args, DType dtype, const CommLaunch& launch,
                               cudaStream_t stream) {
  const auto kernel =
      dtype == DType::kF32 ? GatherKernel<float, kRanks> : GatherKernel<__nv_bfloat16, kRanks>;
  return LaunchOverlapped(kernel, dim3(launch.blocks), dim3(launch.threads), 0, stream,
                          launch.compute_capability, args, 1, HasDeviceAlone(args.link));
}

template <int kRanks>
cudaError_t LaunchNormKernel(const NormArgs& args, const CommLaunch& launch, cudaStream_t stream) {
  return WithShots<kRanks>(launch.shots, [&](auto two) {
    constexpr bool kTwoShots = decltype(two)::value;
    const auto kernel = launch.vectors_per_thread == 1 ? NormKernel<kRanks, 1, kTwoShots>
                                                       : NormKernel<kRanks, 2, kTwoShots>;
    return LaunchOverlapped(kernel, dim3(launch.blocks), dim3(launch.threads), 0, stream,
                            launch.compute_capability, args, args.cluster,
                            HasDeviceAlone(args.link));
  });
}

}  // namespace pingti::kernels
