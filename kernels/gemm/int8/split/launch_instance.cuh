// Launcher of one instantiation of the int8 GEMM whose clusters share a tile's k. Included by
// instances/*.cu only.
#pragma once

#include "kernels/common/status.h"
#include "kernels/gemm/int8/split/kernel.cuh"
#include "kernels/gemm/int8/stream/launch_instance.cuh"

namespace pingti::kernels {

template <typename Traits, bool kRaw>
cudaError_t LaunchGemmS8SplitKernel(const GemmS8Params& params, cudaStream_t stream) {
  return LaunchStreaming<Traits>(GemmS8SplitKernel<Traits, kRaw>, params,
                                 CeilDiv(params.n, Traits::kRows) * Traits::kSplit, Traits::kSplit,
                                 stream);
}

template <int kTokens, int kStages, int kSplit>
cudaError_t LaunchGemmS8SplitAs(const GemmS8Params& params, cudaStream_t stream) {
  using Traits = GemmS8SplitTraits<kTokens, kStages, kSplit>;
  return params.accumulators != nullptr ? LaunchGemmS8SplitKernel<Traits, true>(params, stream)
                                        : LaunchGemmS8SplitKernel<Traits, false>(params, stream);
}

}  // namespace pingti::kernels
