// RMSNorm with residual add and per-token int8 quantization: see norm.h for the formula.
//
// Grid: one block per row; a thread keeps 1 to 8 vectors of eight elements in registers
// (row_launch.h),
//   so each element is read once and written once. One block reduction gives both the sum of
//   squares and max |h * weight|: the quantization scale needs no second one, as y is their product
//   times 1/rms.
// Accumulation: float. Tolerance: out within one rounding of dtype; quantized within one step.
// Bytes per row: hidden * (2 read + 2 read and 2 written with residual + 2 out + 1 quantized);
//   weight stays in the caches. Bound by memory bandwidth; at one token by launch latency.
// Architectures: sm_80 and newer; on sm_90 its start overlaps the kernel before it (overlap.h).
// Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019).

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/row_launch.h"
#include "kernels/common/status.h"
#include "kernels/common/vec8.cuh"
#include "pingti/kernels/norm.h"

namespace pingti::kernels {
namespace {

template <class T, int kVectors>
__global__ void __launch_bounds__(kVectors == 8 ? 512 : 1024) RmsNormKernel(const RmsNormParams p) {
  __shared__ SumMax reduction[32];
  const int64_t row = blockIdx.x;
  const T* x = static_cast<const T*>(p.x) + row * p.x_stride;
  T* residual = p.residual ? static_cast<T*>(p.residual) + row * p.residual_stride : nullptr;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = (i * blockDim.x + threadIdx.x) * 8;
    if (threadIdx.x % 4 == 0 && at < p.hidden) PrefetchLine(p.weight + at);
  }
  WaitForPriorKernels();
#endif
  uint4 raw[kVectors];
  uint4 old[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = (i * blockDim.x + threadIdx.x) * 8;
    raw[i] = old[i] = make_uint4(0, 0, 0, 0);
    if (at < p.hidden) {
      raw[i] = *reinterpret_cast<const uint4*>(x + at);
      if (residual) old[i] = *reinterpret_cast<const uint4*>(residual + at);
    }
  }
  SumMax stats{0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = (i * blockDim.x + threadIdx.x) * 8;
    if (at >= p.hidden) continue;
    float h[8];
    Unpack8<T>(raw[i], h);
    if (residual) {
      float before[8];
      Unpack8<T>(old[i], before);
#pragma unroll
      for (int j = 0; j < 8; ++j) h[j] += before[j];
      raw[i] = Pack8<T>(h);
      *reinterpret_cast<uint4*>(residual + at) = raw[i];
      Unpack8<T>(raw[i], h);  // the norm sees what the residual stream keeps
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) stats.sum += h[j] * h[j];
    if (p.quantized) {
      float w[8];
      Load8(p.weight + at, w);
#pragma unroll
      for (int j = 0; j < 8; ++j) stats.max = fmaxf(stats.max, fabsf(h[j] * w[j]));
    }
  }
  stats = BlockSumMax(stats, reduction);
  const float inverse_rms = rsqrtf(stats.sum / p.hidden + p.eps);
  const float max = stats.max * inverse_rms;
  const float inverse_scale = max > 0.0f ? 127.0f / max : 0.0f;
  if (p.quantized && threadIdx.x == 0) p.scales[row] = max / 127.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = (i * blockDim.x + threadIdx.x) * 8;
    if (at >= p.hidden) continue;
    float y[8];
    float w[8];
    Unpack8<T>(raw[i], y);
    Load8(p.weight + at, w);
#pragma unroll
    for (int j = 0; j < 8; ++j) y[j] = y[j] * w[j] * inverse_rms;
    if (p.out) {
      *reinterpret_cast<uint4*>(static_cast<T*>(p.out) + row * p.out_stride + at) = Pack8<T>(y);
    }
    if (p.quantized) {
      *reinterpret_cast<uint2*>(p.quantized + row * p.quantized_stride + at) =
          Round8(y, inverse_scale);
    }
  }
}

template <class T>
cudaError_t Launch(const RmsNormParams& p, cudaStream_t stream) {
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const RowLaunch shape = ChooseRowLaunch(p.num_tokens, p.hidden, device.num_sms);
  return LaunchWithVectors(shape.vectors_per_thread, [&](auto vectors) {
    return LaunchOverlapped(RmsNormKernel<T, vectors>, dim3(p.num_tokens), dim3(shape.threads), 0,
                            stream, device.compute_capability, p);
  });
}

}  // namespace

cudaError_t LaunchRmsNorm(const RmsNormParams& p, cudaStream_t stream) {
  if (p.dtype != DType::kBf16 && p.dtype != DType::kF16) return cudaErrorNotSupported;
  if (p.num_tokens < 0 || p.hidden <= 0 || p.hidden % 8 != 0 || p.hidden > kMaxRowElements ||
      (p.x_stride | p.residual_stride | p.out_stride | p.quantized_stride) % 8 != 0) {
    return cudaErrorInvalidValue;
  }
  if (p.num_tokens == 0) return cudaSuccess;
  if (!p.x || !p.weight || (!p.out && !p.quantized) || (p.quantized && !p.scales) ||
      !IsAligned(p.x) || !IsAligned(p.residual) || !IsAligned(p.weight) || !IsAligned(p.out) ||
      !IsAligned(p.quantized)) {
    return cudaErrorInvalidValue;
  }
  return p.dtype == DType::kBf16 ? Launch<__nv_bfloat16>(p, stream) : Launch<__half>(p, stream);
}

}  // namespace pingti::kernels
