// Host side between the dispatch table (launch.cu) and the kernel instances (instances/*.cu).
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include "pingti/kernels/decode_attention.h"

namespace pingti::kernels::decode {

// Launches the kernel of one Traits on checked parameters. Defined in launch_instance.cuh and
// instantiated by one file per KV type and head size, so that they compile in parallel.
template <class Tr>
cudaError_t LaunchInstance(const DecodeAttentionParams& params, cudaStream_t stream);

// LaunchDecodePlan for so many workers, with work.cuh's PlanLayout of as many. Defined in plan.cu.
cudaError_t LaunchPlan(const DecodeShape& shape, int num_workers, void* plan, cudaStream_t stream);

}  // namespace pingti::kernels::decode
