// Sum of two matrices: see add.h. Grid: (token, stretch of the row); a thread adds eight elements a
// vector, and its vectors are independent. Bytes per row: 4 * width read and 2 * width written,
// bound by memory bandwidth; at one token by launch latency. Architectures: sm_80 and newer; on
// sm_90 its start overlaps the kernel before it (overlap.h).

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "kernels/common/vec8.cuh"
#include "pingti/kernels/add.h"

namespace pingti::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 2;  // of eight elements, a thread

template <class T>
__global__ void __launch_bounds__(kThreads) AddKernel(const AddParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const int64_t row = blockIdx.x;
  const T* x = static_cast<const T*>(p.x) + row * p.x_stride;
  T* sum = static_cast<T*>(p.sum) + row * p.sum_stride;
  uint4 a[kVectors];
  uint4 b[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = ((blockIdx.y * kVectors + i) * kThreads + threadIdx.x) * 8;
    if (at >= p.width) continue;
    a[i] = *reinterpret_cast<const uint4*>(x + at);
    b[i] = *reinterpret_cast<const uint4*>(sum + at);
  }
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = ((blockIdx.y * kVectors + i) * kThreads + threadIdx.x) * 8;
    if (at >= p.width) continue;
    float left[8];
    float right[8];
    Unpack8<T>(a[i], left);
    Unpack8<T>(b[i], right);
#pragma unroll
    for (int j = 0; j < 8; ++j) right[j] += left[j];
    *reinterpret_cast<uint4*>(sum + at) = Pack8<T>(right);
  }
}

}  // namespace

cudaError_t LaunchAdd(const AddParams& p, cudaStream_t stream) {
  if (p.dtype != DType::kBf16) return cudaErrorNotSupported;
  if (p.num_tokens < 0 || p.width <= 0 || p.width % 8 != 0 ||
      (p.x_stride | p.sum_stride) % 8 != 0) {
    return cudaErrorInvalidValue;
  }
  if (p.num_tokens == 0) return cudaSuccess;
  if (!IsPresent(p.x) || !IsPresent(p.sum)) return cudaErrorInvalidValue;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const dim3 grid(p.num_tokens, CeilDiv(p.width, kThreads * kVectors * 8));
  return LaunchOverlapped(AddKernel<__nv_bfloat16>, grid, dim3(kThreads), 0, stream,
                          device.compute_capability, p);
}

}  // namespace pingti::kernels
