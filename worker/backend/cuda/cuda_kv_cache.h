// The paged keys and values of all layers on the device, in the layout of the kernels' kv_layout.h:
// one allocation a layer apart, [layers, 2, pages, kv_heads, block_tokens, head_dim] bf16.
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
  // In the order of the list, after what `stream` holds. Copies the list before it returns.
  absl::Status CopyBlocks(std::span<const BlockCopy> copies, cudaStream_t stream);

 private:
  explicit CudaKvCache(const KvCacheShape& shape) : shape_(shape) {}
  absl::Status ListPlanes();

  const KvCacheShape shape_;
  std::unique_ptr<CudaBuffer> pool_;
  std::unique_ptr<CudaBuffer> planes_;  // kernels::KvCopyPlane [num_planes_]
  int32_t num_planes_ = 0;
  std::unique_ptr<CudaBuffer> copies_;  // kernels::KvPageCopy [shape.num_blocks]
};

}  // namespace pingti::worker::cuda
