// Symmetric int8 quantization per token: see quantize.h for the formula.
//
// Grid: one block per row, the row in registers (row_launch.h), one block reduction for max |x|.
// Exact: the scale is one float division, the rounding one multiplication with 127 / max |x|.
// Bytes per row: 2 * width read, width + 4 written. Bound by memory bandwidth.
// Architectures: sm_80 and newer; on sm_90 its start overlaps the kernel before it (overlap.h).

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/row_launch.h"
#include "kernels/common/status.h"
#include "kernels/common/vec8.cuh"
#include "pingti/kernels/quantize.h"

namespace pingti::kernels {
namespace {

template <class T, int kVectors>
__global__ void __launch_bounds__(kVectors == 8 ? 512 : 1024)
    QuantizeTokensKernel(const QuantizeTokensParams p) {
  __shared__ SumMax reduction[32];
  const int64_t row = blockIdx.x;
  const T* x = static_cast<const T*>(p.x) + row * p.x_stride;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  uint4 raw[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = (i * blockDim.x + threadIdx.x) * 8;
    raw[i] = at < p.width ? *reinterpret_cast<const uint4*>(x + at) : make_uint4(0, 0, 0, 0);
  }
  SumMax stats{0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    float v[8];
    Unpack8<T>(raw[i], v);
#pragma unroll
    for (int j = 0; j < 8; ++j) stats.max = fmaxf(stats.max, fabsf(v[j]));
  }
  stats = BlockSumMax(stats, reduction);
  const float inverse_scale = stats.max > 0.0f ? 127.0f / stats.max : 0.0f;
  if (threadIdx.x == 0) p.scales[row] = stats.max / 127.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = (i * blockDim.x + threadIdx.x) * 8;
    if (at >= p.width) continue;
    float v[8];
    Unpack8<T>(raw[i], v);
    *reinterpret_cast<uint2*>(p.quantized + row * p.quantized_stride + at) =
        Round8(v, inverse_scale);
  }
}

template <class T>
cudaError_t Launch(const QuantizeTokensParams& p, cudaStream_t stream) {
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const RowLaunch shape = ChooseRowLaunch(p.num_tokens, p.width, device.num_sms);
  return LaunchWithVectors(shape.vectors_per_thread, [&](auto vectors) {
    return LaunchOverlapped(QuantizeTokensKernel<T, vectors>, dim3(p.num_tokens),
                            dim3(shape.threads), 0, stream, device.compute_capability, p);
  });
}

}  // namespace

cudaError_t LaunchQuantizeTokens(const QuantizeTokensParams& p, cudaStream_t stream) {
  if (p.dtype != DType::kBf16 && p.dtype != DType::kF16) return cudaErrorNotSupported;
  if (p.num_tokens < 0 || p.width <= 0 || p.width % 8 != 0 || p.width > kMaxRowElements ||
      (p.x_stride | p.quantized_stride) % 8 != 0) {
    return cudaErrorInvalidValue;
  }
  if (p.num_tokens == 0) return cudaSuccess;
  if (!IsPresent(p.x) || !IsPresent(p.quantized) || !p.scales) return cudaErrorInvalidValue;
  return p.dtype == DType::kBf16 ? Launch<__nv_bfloat16>(p, stream) : Launch<__half>(p, stream);
}

}  // namespace pingti::kernels
