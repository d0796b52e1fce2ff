// Copies whole pages of the paged KV cache, over all layers in one launch: within the cache, which
// a sequence that forks or writes to a page it shares needs before its step, and out of it and
// back. Layers may have pages of different sizes. Host only. Next: kv_layout.h,
// kernels/kvcache/copy_pages.cu, kernels/kvcache/pack_pages.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/dtype.h"
#include "pingti/kernels/kv_layout.h"

namespace pingti::kernels {

// One pool of pages: the keys, values or scales of one layer. Page i is the page_bytes dense bytes
// at base + i * page_stride_bytes.
struct KvCopyPlane {
  void* base = nullptr;           // device, 16-byte aligned
  int64_t page_stride_bytes = 0;  // a multiple of 16, at least page_bytes
  int64_t page_bytes = 0;         // a multiple of 16
  int64_t packed_offset = 0;      // bytes, a multiple of 16: where a page lies once packed
};

// A cache has at most this many planes per layer: k, v, and the scales of both.
inline constexpr int kMaxKvCopyPlanesPerLayer = 4;

// Writes the planes of one layer's cache, whose pages must be dense, to `planes`: k, v (unless the
// layer has none, as one of latents) and, for int8, k_scale, v_scale, or both in one where they are
// paired. Returns how many.
inline int ListKvCopyPlanes(const PagedKv& kv, KvCopyPlane* planes) {
  const int64_t element = ElementBytes(kv.dtype);
  const int64_t elements = kv.num_kv_heads * kv.head_stride;
  planes[0] = {const_cast<void*>(kv.k), kv.page_stride * element, elements * element, 0};
  if (kv.v == nullptr) return 1;
  planes[1] = {const_cast<void*>(kv.v), kv.page_stride * element, elements * element, 0};
  if (kv.dtype != DType::kI8) return 2;
  const int64_t scale_bytes = int64_t{kv.num_kv_heads} * kv.page_tokens * 4;
  if (HasPairedScales(kv)) {
    planes[2] = {const_cast<float*>(kv.k_scale), kv.scale_page_stride * 4, 2 * scale_bytes, 0};
    return 3;
  }
  planes[2] = {const_cast<float*>(kv.k_scale), kv.scale_page_stride * 4, scale_bytes, 0};
  planes[3] = {const_cast<float*>(kv.v_scale), kv.scale_page_stride * 4, scale_bytes, 0};
  return 4;
}

// page `to` = page `from`. from < 0: nothing (so that a captured graph may be padded).
struct KvPageCopy {
  int32_t from = -1;
  int32_t to = -1;
};

// As if every copy were done in the order of the list, one after the other: a page may be the
// source of one copy and the target of a later one.
struct CopyKvPagesParams {
  const KvCopyPlane* planes = nullptr;  // device, [num_planes]
  int32_t num_planes = 0;               // at most 65535
  int64_t max_page_bytes = 0;           // the largest page_bytes of the planes, known on the host
  const KvPageCopy* copies = nullptr;   // device, [num_copies]
  int32_t num_copies = 0;
};

// Neither allocates nor synchronises; no copies or no planes: nothing to do. cudaErrorInvalidValue:
// a null pointer, a negative count, too many planes, or max_page_bytes that is not a multiple of
// 16. What stands in device memory cannot be checked here: the planes and page numbers are trusted.
cudaError_t LaunchCopyKvPages(const CopyKvPagesParams& params, cudaStream_t stream);

inline constexpr int32_t kMaxPackPages = 65535;

// The page_bytes of every plane of page pages[i], and the bytes from plane.packed_offset on at
// packed + i * packed_page_bytes. `packed` may be page-locked host memory.
struct PackKvPagesParams {
  const KvCopyPlane* planes = nullptr;  // device, [num_planes]
  int32_t num_planes = 0;               // at most 65535
  int64_t max_page_bytes = 0;           // the largest page_bytes of the planes, known on the host
  const int32_t* pages = nullptr;       // device, [num_pages]
  int32_t num_pages = 0;                // at most kMaxPackPages
  void* packed = nullptr;  // [num_pages, packed_page_bytes], reached by the device, 16-byte aligned
  int64_t packed_page_bytes = 0;  // a multiple of 16
};

// Pack reads the pages and writes `packed`; Unpack reads `packed` and writes the pages, which must
// differ from each other. Neither allocates nor synchronises; no pages or no planes: nothing to do.
// Errors: as for LaunchCopyKvPages.
cudaError_t LaunchPackKvPages(const PackKvPagesParams& params, cudaStream_t stream);
cudaError_t LaunchUnpackKvPages(const PackKvPagesParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
