// The paged keys and values of all layers on the device, in the layout of the kernels' kv_layout.h:
// one allocation a layer apart, [layers, 2, pages, kv_heads, block_tokens, head_dim] bf16 or int8,
// and for int8 the scales, f32 [layers, 2, pages, kv_heads, block_tokens]. An int8 cache also has
// one layer's pages in bf16, into which prefill attention's keys and values are widened.
#pragma once

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "pingti/kernels/kv_layout.h"
#include "worker/backend/backend.h"
#include "worker/backend/cuda/device_memory.h"

namespace pingti::worker::cuda {

class CudaKvCache : public KvCache {
 public:
  static int64_t BytesPerBlock(const KvCacheShape& shape);
  // Errors: Unimplemented for a head size, block size or format that the kernels lack, by name;
  // ResourceExhausted.
  static absl::StatusOr<std::unique_ptr<CudaKvCache>> Make(const KvCacheShape& shape);

  const KvCacheShape& shape() const { return shape_; }
  // The layer's pools, without a block table.
  kernels::PagedKv View(int64_t layer) const;
  bool is_int8() const { return shape_.kv_format == KvFormat::kInt8; }
  // The bf16 pages that all layers of an int8 cache share, in turn.
  kernels::PagedKv WidenedView() const;
  // In the order of the list, after what `stream` holds. Copies the list before it returns.
  absl::Status CopyBlocks(std::span<const BlockCopy> copies, cudaStream_t stream);

 private:
  explicit CudaKvCache(const KvCacheShape& shape) : shape_(shape) {}
  absl::Status ListPlanes();
  kernels::PagedKv Pages(kernels::DType dtype) const;
  // Elements of the keys of all pages of a layer.
  int64_t PoolElements() const;

  const KvCacheShape shape_;
  std::unique_ptr<CudaBuffer> pool_;
  std::unique_ptr<CudaBuffer> scales_;   // of an int8 cache, else null
  std::unique_ptr<CudaBuffer> widened_;  // the same
  std::unique_ptr<CudaBuffer> planes_;   // kernels::KvCopyPlane [num_planes_]
  int32_t num_planes_ = 0;
  std::unique_ptr<CudaBuffer> copies_;  // kernels::KvPageCopy [shape.num_blocks]
};

}  // namespace pingti::worker::cuda
