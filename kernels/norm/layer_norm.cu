// Layer norm with residual add and per-token int8 quantization: see norm.h for the formula.
//
// Grid: one block per row; a thread keeps 1 to 8 vectors of eight elements in registers
//   (row_launch.h), so each element is read once and written once. Block reductions: the sum, then
//   the sum of squared differences from the mean, then (if quantized) max |y|.
// Accumulation: float. Tolerance: out within one rounding of dtype; quantized within one step.
// Bytes per row: hidden * (2 read + 2 read and 2 written with residual + 2 out + 1 quantized);
//   weight and bias stay in the caches. Bound by memory bandwidth; at one token by launch latency.
// Architectures: sm_80 and newer; on sm_90 its start overlaps the kernel before it (overlap.h).
// Source: Ba, Kiros and Hinton, "Layer Normalization" (2016).

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/row_launch.h"
#include "kernels/common/status.h"
#include "kernels/common/vec8.cuh"
#include "pingti/kernels/norm.h"

namespace pingti::kernels {
namespace {

// This thread's part of h = x + residual, as the residual stream keeps it; zero past the row.
template <class T, int kVectors>
__device__ __forceinline__ void LoadRow(const LayerNormParams& p, int64_t row,
                                        uint4 (&raw)[kVectors]) {
  const T* x = static_cast<const T*>(p.x) + row * p.x_stride;
  T* residual = p.residual ? static_cast<T*>(p.residual) + row * p.residual_stride : nullptr;
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
  if (!residual) return;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = (i * blockDim.x + threadIdx.x) * 8;
    if (at >= p.hidden) continue;
    float h[8];
    float before[8];
    Unpack8<T>(raw[i], h);
    Unpack8<T>(old[i], before);
#pragma unroll
    for (int j = 0; j < 8; ++j) h[j] += before[j];
    raw[i] = Pack8<T>(h);
    *reinterpret_cast<uint4*>(residual + at) = raw[i];
  }
}

// y of eight elements from `at` on.
template <class T>
__device__ __forceinline__ void Normalise8(const LayerNormParams& p, uint4 raw, int at, float mean,
                                           float inverse_deviation, float (&y)[8]) {
  float w[8];
  float b[8] = {};
  Unpack8<T>(raw, y);
  Load8(p.weight + at, w);
  if (p.bias) Load8(p.bias + at, b);
#pragma unroll
  for (int j = 0; j < 8; ++j) y[j] = fmaf((y[j] - mean) * inverse_deviation, w[j], b[j]);
}

template <class T, int kVectors>
__global__ void __launch_bounds__(kVectors == 8 ? 512 : 1024)
    LayerNormKernel(const LayerNormParams p) {
  __shared__ SumMax reductions[3][32];
  const int64_t row = blockIdx.x;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = (i * blockDim.x + threadIdx.x) * 8;
    if (threadIdx.x % 4 != 0 || at >= p.hidden) continue;
    PrefetchLine(p.weight + at);
    if (p.bias) PrefetchLine(p.bias + at);
  }
  WaitForPriorKernels();
#endif
  uint4 raw[kVectors];
  LoadRow<T, kVectors>(p, row, raw);
  SumMax stats{0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    float h[8];
    Unpack8<T>(raw[i], h);
#pragma unroll
    for (int j = 0; j < 8; ++j) stats.sum += h[j];
  }
  const float mean = BlockSumMax(stats, reductions[0]).sum / p.hidden;
  stats.sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if ((i * blockDim.x + threadIdx.x) * 8 >= p.hidden) continue;
    float h[8];
    Unpack8<T>(raw[i], h);
#pragma unroll
    for (int j = 0; j < 8; ++j) stats.sum += (h[j] - mean) * (h[j] - mean);
  }
  const float variance = BlockSumMax(stats, reductions[1]).sum / p.hidden;
  const float inverse_deviation = rsqrtf(variance + p.eps);
  float inverse_scale = 0.0f;
  if (p.quantized) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int at = (i * blockDim.x + threadIdx.x) * 8;
      if (at >= p.hidden) continue;
      float y[8];
      Normalise8<T>(p, raw[i], at, mean, inverse_deviation, y);
#pragma unroll
      for (int j = 0; j < 8; ++j) stats.max = fmaxf(stats.max, fabsf(y[j]));
    }
    const float max = BlockSumMax(stats, reductions[2]).max;
    inverse_scale = max > 0.0f ? 127.0f / max : 0.0f;
    if (threadIdx.x == 0) p.scales[row] = max / 127.0f;
  }
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = (i * blockDim.x + threadIdx.x) * 8;
    if (at >= p.hidden) continue;
    float y[8];
    Normalise8<T>(p, raw[i], at, mean, inverse_deviation, y);
    if (p.out) {
      *reinterpret_cast<uint4*>(static_cast<T*>(p.out) + row * p.out_stride + at) = Pack8<T>(y);
    }
    if (p.quantized) {
      *reinterpret_cast<uint2*>(p.quantized + row * p.quantized_stride + at) =
          Round8(y, inverse_scale);
    }
  }
}

}  // namespace

cudaError_t LaunchLayerNorm(const LayerNormParams& p, cudaStream_t stream) {
  if (p.dtype != DType::kBf16) return cudaErrorNotSupported;
  if (p.num_tokens < 0 || p.hidden <= 0 || p.hidden % 8 != 0 || p.hidden > kMaxRowElements ||
      (p.x_stride | p.residual_stride | p.out_stride | p.quantized_stride) % 8 != 0) {
    return cudaErrorInvalidValue;
  }
  if (p.num_tokens == 0) return cudaSuccess;
  if (!p.x || !p.weight || (!p.out && !p.quantized) || (p.quantized && !p.scales) ||
      !IsAligned(p.x) || !IsAligned(p.residual) || !IsAligned(p.weight) || !IsAligned(p.bias) ||
      !IsAligned(p.out) || !IsAligned(p.quantized)) {
    return cudaErrorInvalidValue;
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const RowLaunch shape = ChooseRowLaunch(p.num_tokens, p.hidden, device.num_sms);
  return LaunchWithVectors(shape.vectors_per_thread, [&](auto vectors) {
    return LaunchOverlapped(LayerNormKernel<__nv_bfloat16, vectors>, dim3(p.num_tokens),
                            dim3(shape.threads), 0, stream, device.compute_capability, p);
  });
}

}  // namespace pingti::kernels
