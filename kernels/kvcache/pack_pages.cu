// Packs pages of the KV cache and unpacks them: see kv_copy.h. Grid: (stretch of a page, plane,
// page of the list). Bytes: the packed bytes once each way; where they are page-locked host memory,
// bound by the bus, which a warp's 512 adjacent bytes use well.
// Architectures: sm_80 and newer.

#include "kernels/common/status.h"
#include "pingti/kernels/kv_copy.h"

namespace pingti::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 4;  // 16-byte pieces per thread, all in flight at once
constexpr int kBlockBytes = kThreads * kVectors * 16;

// to[i * kThreads] = from[i * kThreads] for the thread's pieces below `count`.
__device__ __forceinline__ void CopyPieces(uint4* to, const uint4* from, int64_t count) {
  uint4 value[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (i * kThreads < count) value[i] = from[i * kThreads];
  }
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (i * kThreads < count) to[i * kThreads] = value[i];
  }
}

template <bool kPack>
__global__ void __launch_bounds__(kThreads) PackPagesKernel(const PackKvPagesParams p) {
  const KvCopyPlane plane = p.planes[blockIdx.y];
  const int64_t first = int64_t{blockIdx.x} * kBlockBytes + threadIdx.x * 16;
  if (first >= plane.page_bytes) return;
  auto* page = reinterpret_cast<uint4*>(static_cast<uint8_t*>(plane.base) +
                                        p.pages[blockIdx.z] * plane.page_stride_bytes + first);
  auto* packed =
      reinterpret_cast<uint4*>(static_cast<uint8_t*>(p.packed) + blockIdx.z * p.packed_page_bytes +
                               plane.packed_offset + first);
  const int64_t pieces = (plane.page_bytes - first) / 16;
  if constexpr (kPack) {
    CopyPieces(packed, page, pieces);
  } else {
    CopyPieces(page, packed, pieces);
  }
}

template <bool kPack>
cudaError_t Launch(const PackKvPagesParams& p, cudaStream_t stream) {
  if (p.num_planes < 0 || p.num_planes > 65535 || p.num_pages < 0 || p.num_pages > kMaxPackPages ||
      p.max_page_bytes < 0 || p.max_page_bytes % 16 != 0 || p.packed_page_bytes % 16 != 0) {
    return cudaErrorInvalidValue;
  }
  if (p.num_planes == 0 || p.num_pages == 0 || p.max_page_bytes == 0) return cudaSuccess;
  if (p.planes == nullptr || p.pages == nullptr || !IsPresent(p.packed)) {
    return cudaErrorInvalidValue;
  }
  const auto stretches = static_cast<unsigned>((p.max_page_bytes + kBlockBytes - 1) / kBlockBytes);
  const dim3 grid(stretches, static_cast<unsigned>(p.num_planes),
                  static_cast<unsigned>(p.num_pages));
  PackPagesKernel<kPack><<<grid, kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t LaunchPackKvPages(const PackKvPagesParams& params, cudaStream_t stream) {
  return Launch<true>(params, stream);
}

cudaError_t LaunchUnpackKvPages(const PackKvPagesParams& params, cudaStream_t stream) {
  return Launch<false>(params, stream);
}

}  // namespace pingti::kernels
