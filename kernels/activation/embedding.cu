// Embedding gather: see embedding.h. Grid: (token, stretch of the row); a thread writes 16 bytes at
// a time. Bytes per token: 2 * width (int8: width) read and 2 * width written, bound by memory
// bandwidth. Architectures: sm_80 and newer; on sm_90 its start overlaps the kernel before it
// (overlap.h).

#include <cuda_bf16.h>

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "pingti/kernels/embedding.h"

namespace pingti::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 4;  // of eight elements, a thread

// Eight int8 elements times the row's scale, in bf16.
__device__ __forceinline__ uint4 Widen(uint2 raw, float scale) {
  const auto* elements = reinterpret_cast<const int8_t*>(&raw);
  uint4 out;
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(&out);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    pairs[i] = __floats2bfloat162_rn(scale * elements[2 * i], scale * elements[2 * i + 1]);
  }
  return out;
}

template <bool kInt8>
__global__ void __launch_bounds__(kThreads) EmbeddingKernel(const EmbeddingParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const int64_t token = blockIdx.x;
  const int64_t row = static_cast<int64_t>(p.token_ids[token]) - p.first_id;
  const bool here = row >= 0 && row < p.num_rows;
  const auto* from =
      static_cast<const uint8_t*>(p.table) + (here ? row * p.table_stride * (kInt8 ? 1 : 2) : 0);
  const float scale = kInt8 && here ? __ldg(p.row_scale + row) : 0.0f;
  auto* to = static_cast<uint16_t*>(p.out) + token * p.out_stride;
  uint4 value[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = ((blockIdx.y * kVectors + i) * kThreads + threadIdx.x) * 8;
    value[i] = make_uint4(0, 0, 0, 0);
    if (!here || at >= p.width) continue;
    if constexpr (kInt8) {
      value[i] = Widen(__ldg(reinterpret_cast<const uint2*>(from + at)), scale);
    } else {
      value[i] = __ldg(reinterpret_cast<const uint4*>(from + 2 * at));
    }
  }
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = ((blockIdx.y * kVectors + i) * kThreads + threadIdx.x) * 8;
    if (at < p.width) *reinterpret_cast<uint4*>(to + at) = value[i];
  }
}

}  // namespace

cudaError_t LaunchEmbedding(const EmbeddingParams& p, cudaStream_t stream) {
  if (p.num_tokens < 0 || p.num_rows < 0 || p.width <= 0 || p.width % 8 != 0 ||
      (p.table_stride | p.out_stride) % 8 != 0) {
    return cudaErrorInvalidValue;
  }
  if (p.num_tokens == 0) return cudaSuccess;
  if (!p.token_ids || !IsPresent(p.table) || !IsPresent(p.out)) return cudaErrorInvalidValue;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const dim3 grid(p.num_tokens, CeilDiv(p.width, kThreads * kVectors * 8));
  return LaunchOverlapped(p.row_scale != nullptr ? EmbeddingKernel<true> : EmbeddingKernel<false>,
                          grid, dim3(kThreads), 0, stream, device.compute_capability, p);
}

}  // namespace pingti::kernels
