// Copies pages of the KV cache: see kv_copy.h. Grid: (stretch of a page, plane). A thread owns the
// same 16-byte pieces of every page and takes the copies in order, which alone makes the result
// that of copying one page after the other: no two threads touch the same bytes.
// Bytes: page_bytes read and written for each plane and copy, bound by memory bandwidth. A page of
// one layer alone is 128 KB in a 72B model, so that 160 planes fill the device with one copy.
// Architectures: sm_80 and newer; on sm_90 its start overlaps the kernel before it (overlap.h).

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "pingti/kernels/kv_copy.h"

namespace pingti::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 4;  // 16-byte pieces a thread, all in flight at once
constexpr int kBlockBytes = kThreads * kVectors * 16;

__global__ void __launch_bounds__(kThreads) CopyPagesKernel(const CopyKvPagesParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const KvCopyPlane plane = p.planes[blockIdx.y];
  const int64_t first = int64_t{blockIdx.x} * kBlockBytes + threadIdx.x * 16;
  if (first >= plane.page_bytes) return;
  auto* base = static_cast<uint8_t*>(plane.base) + first;
  for (int c = 0; c < p.num_copies; ++c) {
    const KvPageCopy copy = p.copies[c];
    if (copy.from < 0) continue;
    // Not through the read-only path: a later copy may read what an earlier one wrote.
    const auto* from = reinterpret_cast<const uint4*>(base + copy.from * plane.page_stride_bytes);
    auto* to = reinterpret_cast<uint4*>(base + copy.to * plane.page_stride_bytes);
    uint4 value[kVectors];
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (first + i * kThreads * 16 < plane.page_bytes) value[i] = from[i * kThreads];
    }
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (first + i * kThreads * 16 < plane.page_bytes) to[i * kThreads] = value[i];
    }
  }
}

}  // namespace

cudaError_t LaunchCopyKvPages(const CopyKvPagesParams& p, cudaStream_t stream) {
  if (p.num_planes < 0 || p.num_planes > 65535 || p.num_copies < 0 || p.max_page_bytes < 0 ||
      p.max_page_bytes % 16 != 0) {
    return cudaErrorInvalidValue;
  }
  if (p.num_planes == 0 || p.num_copies == 0 || p.max_page_bytes == 0) return cudaSuccess;
  if (p.planes == nullptr || p.copies == nullptr) return cudaErrorInvalidValue;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const auto stretches = static_cast<unsigned>((p.max_page_bytes + kBlockBytes - 1) / kBlockBytes);
  return LaunchOverlapped(CopyPagesKernel, dim3(stretches, p.num_planes), dim3(kThreads), 0, stream,
                          device.compute_capability, p);
}

}  // namespace pingti::kernels
