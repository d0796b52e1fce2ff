// Weighted sum of a token's rows: see CombineExpertsParams in moe.h.
//
// Grid: (token, stretch of the row); a thread adds eight columns of all the token's rows, in the
// order of their choice, in f32. Bytes per token: 2 * width * (experts_per_token + 2), bound by
// memory bandwidth. Architectures: sm_80 and newer; on sm_90 its start overlaps the kernel before
// it (overlap.h).

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "kernels/common/vec8.cuh"
#include "pingti/kernels/moe.h"

namespace pingti::kernels {
namespace {

constexpr int kThreads = 128;

__device__ __forceinline__ void AddScaled(const __nv_bfloat16* from, float weight,
                                          float (&sum)[8]) {
  float x[8];
  Unpack8<__nv_bfloat16>(*reinterpret_cast<const uint4*>(from), x);
#pragma unroll
  for (int i = 0; i < 8; ++i) sum[i] += weight * x[i];
}

__global__ void __launch_bounds__(kThreads) CombineKernel(const CombineExpertsParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const int64_t token = blockIdx.x;
  const int column = (blockIdx.y * kThreads + threadIdx.x) * 8;
  if (column >= p.width) return;
  float sum[8] = {};
  for (int i = 0; i < p.experts_per_token; ++i) {
    const int64_t choice = token * p.experts_per_token + i;
    const int row = p.row_of[choice];
    if (row >= 0) AddScaled(p.rows + row * p.rows_stride + column, p.weights[choice], sum);
  }
  if (p.shared != nullptr) {
    float weight = 1.0f;
    if (p.gate != nullptr) weight = 1.0f / (1.0f + expf(-p.gate[token * p.gate_stride]));
    AddScaled(p.shared + token * p.shared_stride + column, weight, sum);
  }
  *reinterpret_cast<uint4*>(p.out + token * p.out_stride + column) = Pack8<__nv_bfloat16>(sum);
}

}  // namespace

cudaError_t LaunchCombineExperts(const CombineExpertsParams& p, cudaStream_t stream) {
  if (p.num_tokens < 0 || p.experts_per_token < 1 || p.width <= 0 || p.width % 8 != 0 ||
      (p.rows_stride | p.shared_stride | p.out_stride) % 8 != 0) {
    return cudaErrorInvalidValue;
  }
  if (p.num_tokens == 0) return cudaSuccess;
  if (!IsPresent(p.rows) || p.row_of == nullptr || p.weights == nullptr || !IsPresent(p.out) ||
      !IsAligned(p.shared)) {
    return cudaErrorInvalidValue;
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  return LaunchOverlapped(CombineKernel, dim3(p.num_tokens, CeilDiv(p.width / 8, kThreads)),
                          dim3(kThreads), 0, stream, device.compute_capability, p);
}

}  // namespace pingti::kernels
