// The paged keys and values of all layers on the device, in the layout of the kernels' kv_layout.h:
// layer after layer, each [2, pages, kv_heads, block_tokens, head_dim] bf16 or int8, or pages of
// latents (latent_attention.h), bf16 or int8 with their scales; for int8 keys and values also the
// scales, f32 [2, pages, kv_heads, block_tokens], and the largest layer's pages in bf16, into which
// prefill attention's keys and values are widened.
//
// A block's exported form (block_layout()) has per layer the block's keys, its values, and for int8
// the scales of both, or its latents, each as it lies on the device. Next: kv_transfer.h, which
// moves it.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "pingti/kernels/kv_copy.h"
#include "pingti/kernels/kv_layout.h"
#include "worker/backend/backend.h"
#include "worker/backend/cuda/device_memory.h"

namespace pingti::worker::cuda {

class CudaKvCache : public KvCache {
 public:
  static int64_t BytesPerBlock(const KvCacheShape& shape);
  // Errors: Unimplemented for planes, a head size, block size or format that the kernels lack, by
  // name; InvalidArgument (sizes below 1); ResourceExhausted.
  static absl::StatusOr<std::unique_ptr<CudaKvCache>> Make(const KvCacheShape& shape);

  const KvCacheShape& shape() const { return shape_; }
  const KvBlockLayout& block_layout() const override { return layout_; }
  // The layer's pools, without a block table; of latents, k alone.
  kernels::PagedKv View(int64_t layer) const;
  bool is_int8() const { return shape_.kv_format == KvFormat::kInt8; }
  // The bf16 pages that all layers of an int8 cache share, in turn; with the sizes of `layer`.
  kernels::PagedKv WidenedView(int64_t layer) const;
  // In the order of the list, after what `stream` holds. Copies the list before it returns.
  absl::Status CopyBlocks(std::span<const BlockCopy> copies, cudaStream_t stream);
  // Blocks to or from `packed`, [blocks, block_layout().bytes] in memory that the device reaches,
  // after what `stream` holds. Copies the list before it returns. REQUIRES: at most
  // MaxPackedBlocks() blocks, which exist; for Unpack, which differ.
  size_t MaxPackedBlocks() const;
  absl::Status Pack(std::span<const int32_t> blocks, std::byte* packed, cudaStream_t stream) const;
  absl::Status Unpack(std::span<const int32_t> blocks, const std::byte* packed,
                      cudaStream_t stream);

 private:
  struct Layer {
    int64_t num_kv_heads = 0;  // 0: the layer keeps nothing
    int64_t head_dim = 0;
    bool is_latent = false;   // one plane, which stands where keys do
    int64_t start = 0;        // bytes into pool_
    int64_t scale_start = 0;  // elements of scales_
  };

  explicit CudaKvCache(const KvCacheShape& shape) : shape_(shape) {}
  absl::Status ListPlanes();
  void AddToLayout(int64_t layer, kernels::KvCopyPlane* planes);
  void AddLatentsToLayout(int64_t layer, kernels::KvCopyPlane* plane);
  int64_t LatentBytes() const;  // of all pages of a layer
  kernels::PagedKv Pages(const Layer& layer, kernels::DType dtype) const;
  // Elements of one plane of all pages of a layer.
  int64_t PoolElements(const Layer& layer) const;
  const Layer& At(int64_t layer) const { return layers_[static_cast<size_t>(layer)]; }
  // Of blocks whose list has been uploaded.
  kernels::PackKvPagesParams PackParams(size_t num_blocks, std::byte* packed) const;
  absl::Status UploadList(const void* list, size_t bytes, cudaStream_t stream) const;

  const KvCacheShape shape_;
  std::vector<Layer> layers_;
  KvBlockLayout layout_;
  std::unique_ptr<CudaBuffer> pool_;
  std::unique_ptr<CudaBuffer> scales_;   // of int8 keys and values; null where there are none
  std::unique_ptr<CudaBuffer> widened_;  // the same
  std::unique_ptr<CudaBuffer> planes_;   // kernels::KvCopyPlane [num_planes_]
  int32_t num_planes_ = 0;
  int64_t max_page_bytes_ = 0;         // of the planes
  std::unique_ptr<CudaBuffer> lists_;  // kernels::KvPageCopy or int32 [shape.num_blocks]
};

}  // namespace pingti::worker::cuda
