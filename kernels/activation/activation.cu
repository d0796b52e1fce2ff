// Gated and plain activations with per-token int8 quantization: see activation.h for the formulas.
//
// Grid: one block per row, its products in registers (row_launch.h), so that the quantization scale
//   (max |y| over the row) costs no second pass; on sm_90 a cluster of four blocks shares a long
//   row, so that an SM holds blocks in different phases and one's loads cover another's stores (one
//   block of 512 threads per row: 71 % of copy bandwidth at width 29568 on an H100). Without
//   quantization nothing ties a row together: a block takes one stretch of a row, and its vectors
//   are independent.
// Computes in float; out is rounded once. Bytes per row: 4 * width (plain: 2 * width) read, 2 *
//   width (out) and width (quantized) written. Bound by memory bandwidth.
// Architectures: sm_80 and newer; on sm_90 its start overlaps the kernel before it (overlap.h).
// Sources: Shazeer, "GLU Variants Improve Transformer" (2020); Hendrycks and Gimpel, "Gaussian
//   Error Linear Units (GELUs)" (2016).

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/row_launch.h"
#include "kernels/common/status.h"
#include "kernels/common/vec8.cuh"
#include "pingti/kernels/activation.h"

namespace pingti::kernels {
namespace {

constexpr int kFlatThreads = 256;
constexpr int kFlatVectors = 2;
constexpr int kRowCluster = 4;  // blocks of a long row
constexpr int kLongRow = 8192;

template <ActivationKind kKind>
__device__ __forceinline__ float Activated(float x) {
  if constexpr (kKind == ActivationKind::kGelu) {
    return 0.5f * x * (1.0f + erff(0.70710678f * x));
  } else if constexpr (kKind == ActivationKind::kGeluTanh) {
    // (1 + tanh u) / 2 = 1 / (1 + exp(-2u)).
    const float twice_u = 1.59576912f * fmaf(0.044715f * x, x * x, x);
    return __fdividef(x, 1.0f + __expf(-twice_u));
  } else {
    return __fdividef(x, 1.0f + __expf(-x));
  }
}

// See ActivationKind for the formulas.
template <ActivationKind kKind>
__device__ __forceinline__ float ActivatedGated(float gate, float up) {
  if constexpr (kKind == ActivationKind::kClampedSwiglu) {
    const float g = fminf(gate, 7.0f);
    const float u = fminf(fmaxf(up, -7.0f), 7.0f);
    return __fdividef(g, 1.0f + __expf(-1.702f * g)) * (u + 1.0f);
  } else {
    return Activated<kKind>(gate) * up;
  }
}

// What is computed of a row of T.
template <class T_, ActivationKind kKind_, bool kGated_>
struct Function {
  using T = T_;
  static constexpr bool kGated = kGated_;

  // Eight elements; `up` is read if gated.
  static __device__ __forceinline__ void Run8(uint4 x, uint4 up, float (&y)[8]) {
    float g[8];
    Unpack8<T>(x, g);
    if constexpr (kGated) {
      float u[8];
      Unpack8<T>(up, u);
#pragma unroll
      for (int j = 0; j < 8; ++j) y[j] = ActivatedGated<kKind_>(g[j], u[j]);
    } else {
#pragma unroll
      for (int j = 0; j < 8; ++j) y[j] = Activated<kKind_>(g[j]);
    }
  }
};

// Loads this thread's vectors from `first` on, `step` apart, and computes y (zero past the row).
template <class F, int kVectors>
__device__ __forceinline__ void ComputeRow(const ActivationParams& p, int64_t row, int first,
                                           int step, float (&y)[kVectors][8]) {
  using T = typename F::T;
  const T* gate = static_cast<const T*>(p.x) + row * p.x_stride;
  uint4 g[kVectors];
  uint4 u[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = first + i * step;
    g[i] = u[i] = make_uint4(0, 0, 0, 0);
    if (at < p.width) {
      g[i] = *reinterpret_cast<const uint4*>(gate + at);
      if constexpr (F::kGated) u[i] = *reinterpret_cast<const uint4*>(gate + p.width + at);
    }
  }
#pragma unroll
  for (int i = 0; i < kVectors; ++i) F::Run8(g[i], u[i], y[i]);
}

template <class F>
__global__ void __launch_bounds__(kFlatThreads) ActivationFlatKernel(const ActivationParams p) {
  using T = typename F::T;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const int64_t row = blockIdx.x;
  if (p.row_limit != nullptr && row >= *p.row_limit) return;
  const int first = (blockIdx.y * kFlatThreads * kFlatVectors + threadIdx.x) * 8;
  float y[kFlatVectors][8];
  ComputeRow<F, kFlatVectors>(p, row, first, kFlatThreads * 8, y);
  T* out = static_cast<T*>(p.out) + row * p.out_stride;
#pragma unroll
  for (int i = 0; i < kFlatVectors; ++i) {
    const int at = first + i * kFlatThreads * 8;
    if (at < p.width) *reinterpret_cast<uint4*>(out + at) = Pack8<T>(y[i]);
  }
}

// Maximum over the blocks of the cluster, to every thread; `maxima` is one float a block.
// ClusterArrive has been called at the kernel's start.
template <int kCluster>
__device__ __forceinline__ float ClusterMax(float max, float* maxima) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if constexpr (kCluster > 1) {
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");  // all blocks have started
    if (threadIdx.x < kCluster) {
      asm volatile(
          "{\n.reg .b32 remote;\n"
          "mapa.shared::cluster.u32 remote, %0, %1;\n"
          "st.shared::cluster.f32 [remote], %2;\n}" ::"r"(SmemAddress(&maxima[ClusterRank()])),
          "r"(threadIdx.x), "f"(max)
          : "memory");
    }
    ClusterSync();  // every block's maximum is everywhere
#pragma unroll
    for (int i = 0; i < kCluster; ++i) max = fmaxf(max, maxima[i]);
  }
#endif
  return max;
}

template <class F, int kVectors, int kCluster>
__global__ void __launch_bounds__(kVectors == 8 ? 512 : 1024)
    ActivationQuantizeKernel(const ActivationParams p) {
  using T = typename F::T;
  __shared__ SumMax reduction[32];
  __shared__ float maxima[kCluster];
  int rank = 0;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if constexpr (kCluster > 1) {
    asm volatile("barrier.cluster.arrive.relaxed.aligned;");
    rank = static_cast<int>(ClusterRank());
  }
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const int64_t row = blockIdx.x / kCluster;
  if (p.row_limit != nullptr && row >= *p.row_limit) return;
  const int first = (rank * blockDim.x + threadIdx.x) * 8;
  const int step = kCluster * blockDim.x * 8;
  float y[kVectors][8];
  ComputeRow<F, kVectors>(p, row, first, step, y);
  SumMax stats{0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) stats.max = fmaxf(stats.max, fabsf(y[i][j]));
  }
  stats = BlockSumMax(stats, reduction);
  const float max = ClusterMax<kCluster>(stats.max, maxima);
  const float inverse_scale = max > 0.0f ? 127.0f / max : 0.0f;
  if (rank == 0 && threadIdx.x == 0) p.scales[row] = max / 127.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = first + i * step;
    if (at >= p.width) continue;
    if (p.out) {
      *reinterpret_cast<uint4*>(static_cast<T*>(p.out) + row * p.out_stride + at) = Pack8<T>(y[i]);
    }
    *reinterpret_cast<uint2*>(p.quantized + row * p.quantized_stride + at) =
        Round8(y[i], inverse_scale);
  }
}

// One block per row.
template <class F>
cudaError_t LaunchQuantize(const ActivationParams& p, const DeviceTraits& device,
                           cudaStream_t stream) {
  const RowLaunch shape = ChooseRowLaunch(p.num_tokens, p.width, device.num_sms);
  return LaunchWithVectors(shape.vectors_per_thread, [&](auto vectors) {
    return LaunchOverlapped(ActivationQuantizeKernel<F, vectors, 1>, dim3(p.num_tokens),
                            dim3(shape.threads), 0, stream, device.compute_capability, p);
  });
}

// A cluster a row: width at most 32768.
template <class F>
cudaError_t LaunchQuantizeCluster(const ActivationParams& p, const DeviceTraits& device,
                                  cudaStream_t stream) {
  const RowLaunch shape = ChooseRowLaunch(static_cast<int64_t>(p.num_tokens) * kRowCluster,
                                          CeilDiv(p.width, kRowCluster * 8) * 8, device.num_sms);
  const auto launch = [&](auto* kernel) {
    return LaunchOverlapped(kernel, dim3(p.num_tokens * kRowCluster), dim3(shape.threads), 0,
                            stream, device.compute_capability, p, kRowCluster);
  };
  switch (shape.vectors_per_thread) {
    case 1:
      return launch(ActivationQuantizeKernel<F, 1, kRowCluster>);
    case 2:
      return launch(ActivationQuantizeKernel<F, 2, kRowCluster>);
    case 4:
      return launch(ActivationQuantizeKernel<F, 4, kRowCluster>);
    default:
      return cudaErrorInvalidValue;
  }
}

template <class F>
cudaError_t Launch(const ActivationParams& p, cudaStream_t stream) {
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  if (!p.quantized) {
    const int stretches = CeilDiv(p.width, kFlatThreads * kFlatVectors * 8);
    return LaunchOverlapped(ActivationFlatKernel<F>, dim3(p.num_tokens, stretches),
                            dim3(kFlatThreads), 0, stream, device.compute_capability, p);
  }
  if (device.compute_capability >= 90 && p.width > kLongRow) {
    return LaunchQuantizeCluster<F>(p, device, stream);
  }
  return LaunchQuantize<F>(p, device, stream);
}

template <ActivationKind kKind>
cudaError_t LaunchKind(const ActivationParams& p, cudaStream_t stream) {
  return p.gated ? Launch<Function<__nv_bfloat16, kKind, true>>(p, stream)
                 : Launch<Function<__nv_bfloat16, kKind, false>>(p, stream);
}

}  // namespace

cudaError_t LaunchActivation(const ActivationParams& p, cudaStream_t stream) {
  const bool f16 = p.dtype == DType::kF16 && p.gated && p.kind == ActivationKind::kSilu;
  if (p.dtype != DType::kBf16 && !f16) return cudaErrorNotSupported;
  if (p.num_tokens < 0 || p.width <= 0 || p.width % 8 != 0 || p.width > kMaxRowElements ||
      (p.x_stride | p.out_stride | p.quantized_stride) % 8 != 0) {
    return cudaErrorInvalidValue;
  }
  if (p.num_tokens == 0) return cudaSuccess;
  if (!p.x || (!p.out && !p.quantized) || (p.quantized && !p.scales) || !IsAligned(p.x) ||
      !IsAligned(p.out) || !IsAligned(p.quantized)) {
    return cudaErrorInvalidValue;
  }
  if (f16) return Launch<Function<__half, ActivationKind::kSilu, true>>(p, stream);
  switch (p.kind) {
    case ActivationKind::kSilu:
      return LaunchKind<ActivationKind::kSilu>(p, stream);
    case ActivationKind::kGelu:
      return LaunchKind<ActivationKind::kGelu>(p, stream);
    case ActivationKind::kGeluTanh:
      return LaunchKind<ActivationKind::kGeluTanh>(p, stream);
    case ActivationKind::kClampedSwiglu:
      if (!p.gated) return cudaErrorInvalidValue;
      return Launch<Function<__nv_bfloat16, ActivationKind::kClampedSwiglu, true>>(p, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace pingti::kernels
