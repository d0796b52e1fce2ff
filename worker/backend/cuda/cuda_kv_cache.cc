#include "worker/backend/cuda/cuda_kv_cache.h"

#include <algorithm>
#include <vector>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "pingti/kernels/kv_copy.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {
namespace {

constexpr int64_t kScaleBytes = 4;

int64_t ElementBytes(const KvCacheShape& shape) {
  return shape.kv_format == KvFormat::kInt8 ? 1 : 2;
}

// Keys of one layer.
int64_t ElementsPerBlock(const KvCacheShape& shape) {
  return shape.num_kv_heads * shape.block_tokens * shape.head_dim;
}

int64_t ScaleBytesPerBlock(const KvCacheShape& shape) {
  return shape.num_kv_heads * shape.block_tokens * kScaleBytes;
}

bool IsPowerOfTwo(int64_t value) { return value > 0 && (value & (value - 1)) == 0; }

}  // namespace

int64_t CudaKvCache::BytesPerBlock(const KvCacheShape& shape) {
  const int64_t values = 2 * shape.num_layers * ElementsPerBlock(shape) * ElementBytes(shape);
  if (shape.kv_format != KvFormat::kInt8) return values;
  const int64_t widened = 2 * ElementsPerBlock(shape) * 2;
  return values + 2 * shape.num_layers * ScaleBytesPerBlock(shape) + widened;
}

absl::StatusOr<std::unique_ptr<CudaKvCache>> CudaKvCache::Make(const KvCacheShape& shape) {
  if (shape.head_dim != 64 && shape.head_dim != 128) {
    return absl::UnimplementedError(
        Concat("CUDA attention: head_dim ", shape.head_dim, "; expected 64 or 128"));
  }
  if (!IsPowerOfTwo(shape.block_tokens) || shape.block_tokens < 16 || shape.block_tokens > 256) {
    return absl::UnimplementedError(
        Concat("CUDA attention: ", shape.block_tokens,
               " tokens per KV block; expected 16, 32, 64, 128 or 256"));
  }
  if (shape.format == WeightFormat::kF32) {
    return absl::UnimplementedError("CUDA attention: an f32 KV cache; expected a 16-bit format");
  }
  std::unique_ptr<CudaKvCache> cache(new CudaKvCache(shape));
  const int64_t elements = 2 * shape.num_blocks * ElementsPerBlock(shape);  // of a layer
  PINGTI_ASSIGN_OR_RETURN(
      cache->pool_, CudaBuffer::MakeZeroed(shape.num_layers * elements * ElementBytes(shape)));
  if (cache->is_int8()) {
    PINGTI_ASSIGN_OR_RETURN(cache->scales_,
                            CudaBuffer::MakeZeroed(2 * shape.num_layers * shape.num_blocks *
                                                   ScaleBytesPerBlock(shape)));
    PINGTI_ASSIGN_OR_RETURN(cache->widened_, CudaBuffer::MakeZeroed(2 * elements));
  }
  PINGTI_ASSIGN_OR_RETURN(
      cache->copies_,
      CudaBuffer::Make(shape.num_blocks * static_cast<int64_t>(sizeof(kernels::KvPageCopy))));
  PINGTI_RETURN_IF_ERROR(cache->ListPlanes());
  return cache;
}

absl::Status CudaKvCache::ListPlanes() {
  std::vector<kernels::KvCopyPlane> planes;
  for (int64_t layer = 0; layer < shape_.num_layers; ++layer) {
    kernels::KvCopyPlane of_layer[kernels::kMaxKvCopyPlanesPerLayer];
    const int count = kernels::ListKvCopyPlanes(View(layer), of_layer);
    planes.insert(planes.end(), of_layer, of_layer + count);
  }
  const size_t bytes = planes.size() * sizeof(kernels::KvCopyPlane);
  PINGTI_ASSIGN_OR_RETURN(planes_, CudaBuffer::Make(static_cast<int64_t>(bytes)));
  PINGTI_RETURN_IF_CUDA_ERROR(
      cudaMemcpy(planes_->data(), planes.data(), bytes, cudaMemcpyHostToDevice));
  num_planes_ = static_cast<int32_t>(planes.size());
  return absl::OkStatus();
}

int64_t CudaKvCache::PoolElements() const { return shape_.num_blocks * ElementsPerBlock(shape_); }

kernels::PagedKv CudaKvCache::Pages(kernels::DType dtype) const {
  kernels::PagedKv kv;
  kv.num_pages = static_cast<int32_t>(shape_.num_blocks);
  kv.num_kv_heads = static_cast<int32_t>(shape_.num_kv_heads);
  kv.page_tokens = static_cast<int32_t>(shape_.block_tokens);
  kv.head_dim = static_cast<int32_t>(shape_.head_dim);
  kv.dtype = dtype;
  kernels::SetDenseStrides(&kv);
  return kv;
}

kernels::PagedKv CudaKvCache::View(int64_t layer) const {
  kernels::PagedKv kv = Pages(is_int8() ? kernels::DType::kI8 : kernels::DType::kBf16);
  const int64_t pool_bytes = PoolElements() * ElementBytes(shape_);
  auto* base = static_cast<uint8_t*>(pool_->data()) + 2 * layer * pool_bytes;
  kv.k = base;
  kv.v = base + pool_bytes;
  if (is_int8()) {
    const int64_t num_scales = PoolElements() / shape_.head_dim;
    auto* scales = static_cast<float*>(scales_->data()) + 2 * layer * num_scales;
    kv.k_scale = scales;
    kv.v_scale = scales + num_scales;
  }
  return kv;
}

kernels::PagedKv CudaKvCache::WidenedView() const {
  PINGTI_CHECK(is_int8());
  kernels::PagedKv kv = Pages(kernels::DType::kBf16);
  auto* base = static_cast<uint8_t*>(widened_->data());
  kv.k = base;
  kv.v = base + PoolElements() * 2;
  return kv;
}

absl::Status CudaKvCache::CopyBlocks(std::span<const BlockCopy> copies, cudaStream_t stream) {
  // A step copies at most a block a sequence; the list is far shorter than the pool.
  const auto capacity = static_cast<size_t>(shape_.num_blocks);
  for (size_t begin = 0; begin < copies.size(); begin += capacity) {
    const std::span<const BlockCopy> part =
        copies.subspan(begin, std::min(capacity, copies.size() - begin));
    std::vector<kernels::KvPageCopy> list;
    for (const BlockCopy& copy : part) list.push_back({copy.from, copy.to});
    // From pageable memory: the call returns when the list was taken.
    PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(copies_->data(), list.data(),
                                                list.size() * sizeof(kernels::KvPageCopy),
                                                cudaMemcpyHostToDevice, stream));
    kernels::CopyKvPagesParams params;
    params.planes = planes_->as<const kernels::KvCopyPlane>();
    params.num_planes = num_planes_;
    // Of keys and values; scales are smaller.
    params.max_page_bytes = ElementsPerBlock(shape_) * ElementBytes(shape_);
    params.copies = copies_->as<const kernels::KvPageCopy>();
    params.num_copies = static_cast<int32_t>(list.size());
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchCopyKvPages(params, stream));
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
