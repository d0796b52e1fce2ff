#include "worker/backend/cuda/cuda_kv_cache.h"

#include <algorithm>
#include <vector>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "pingti/kernels/latent_attention.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {
namespace {

constexpr int64_t kScaleBytes = 4;

int64_t ElementBytes(const KvCacheShape& shape) {
  return shape.kv_format == KvFormat::kInt8 ? 1 : 2;
}

bool IsPowerOfTwo(int64_t value) { return value > 0 && (value & (value - 1)) == 0; }

bool IsLatent(const KvLayerShape& layer) {
  return !layer.planes.empty() && layer.planes.front().kind == KvPlaneKind::kLatent;
}

// What the kernels of latent attention need.
absl::Status CheckLatents(const KvCacheShape& shape, size_t layer) {
  const int64_t dim = shape.layers[layer].planes.front().head_dim;
  if (dim != kernels::kLatentKeyDim) {
    return absl::UnimplementedError(Concat("CUDA latent attention: layer ", layer, ": latents of ",
                                           dim, " elements; expected ", kernels::kLatentKeyDim));
  }
  int device = 0;
  int major = 0;
  int minor = 0;
  PINGTI_RETURN_IF_CUDA_ERROR(cudaGetDevice(&device));
  PINGTI_RETURN_IF_CUDA_ERROR(
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  PINGTI_RETURN_IF_CUDA_ERROR(
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  if (major != 9 || minor != 0) {
    return absl::UnimplementedError(Concat("CUDA latent attention: compute capability ", major, ".",
                                           minor, "; expected 9.0 (Hopper)"));
  }
  return absl::OkStatus();
}

absl::Status CheckShape(const KvCacheShape& shape) {
  PINGTI_RETURN_IF_ERROR(ExpectKeysAndValuesOrLatents("CUDA", shape.layers));
  for (size_t i = 0; i < shape.layers.size(); ++i) {
    if (shape.layers[i].planes.empty()) continue;
    if (IsLatent(shape.layers[i])) {
      PINGTI_RETURN_IF_ERROR(CheckLatents(shape, i));
      continue;
    }
    const int64_t head_dim = shape.layers[i].planes.front().head_dim;
    if (head_dim != 64 && head_dim != 128) {
      return absl::UnimplementedError(
          Concat("CUDA attention: layer ", i, ": head_dim ", head_dim, "; expected 64 or 128"));
    }
  }
  if (!IsPowerOfTwo(shape.block_tokens) || shape.block_tokens < 16 || shape.block_tokens > 256) {
    return absl::UnimplementedError(
        Concat("CUDA attention: ", shape.block_tokens,
               " tokens per KV block; expected 16, 32, 64, 128 or 256"));
  }
  if (shape.num_blocks < 1) {
    return absl::InvalidArgumentError(
        Concat("KV cache: ", shape.num_blocks, " blocks; expected at least 1"));
  }
  if (shape.format == WeightFormat::kF32) {
    return absl::UnimplementedError("CUDA attention: an f32 KV cache; expected a 16-bit format");
  }
  return absl::OkStatus();
}

}  // namespace

int64_t CudaKvCache::BytesPerBlock(const KvCacheShape& shape) {
  const bool is_int8 = shape.kv_format == KvFormat::kInt8;
  int64_t bytes = 0;
  int64_t widened = 0;
  for (const KvLayerShape& layer : shape.layers) {
    if (is_int8 && IsLatent(layer)) {
      bytes += shape.block_tokens * kernels::kLatentInt8Bytes;
      continue;
    }
    int64_t elements = 0;
    for (const KvPlane& plane : layer.planes) {
      const int64_t rows = plane.heads * shape.block_tokens;
      elements += rows * plane.head_dim;
      if (is_int8) bytes += rows * kScaleBytes;
    }
    bytes += elements * ElementBytes(shape);
    widened = std::max(widened, elements * 2);
  }
  return is_int8 ? bytes + widened : bytes;
}

absl::StatusOr<std::unique_ptr<CudaKvCache>> CudaKvCache::Make(const KvCacheShape& shape) {
  PINGTI_RETURN_IF_ERROR(CheckShape(shape));
  std::unique_ptr<CudaKvCache> cache(new CudaKvCache(shape));
  int64_t bytes = 0;
  int64_t num_scales = 0;
  int64_t largest = 0;  // elements of the keys and values of one layer
  for (const KvLayerShape& of_layer : shape.layers) {
    Layer layer;
    if (!of_layer.planes.empty()) {
      layer.num_kv_heads = of_layer.planes.front().heads;
      layer.head_dim = of_layer.planes.front().head_dim;
      layer.is_latent = IsLatent(of_layer);
    }
    layer.start = bytes;
    layer.scale_start = num_scales;
    cache->layers_.push_back(layer);
    if (layer.is_latent) {
      bytes += cache->LatentBytes();
      continue;
    }
    const int64_t elements = 2 * cache->PoolElements(layer);
    bytes += elements * ElementBytes(shape);
    num_scales += 2 * shape.num_blocks * layer.num_kv_heads * shape.block_tokens;
    largest = std::max(largest, elements);
  }
  PINGTI_ASSIGN_OR_RETURN(cache->pool_, CudaBuffer::MakeZeroed(bytes));
  if (largest > 0 && cache->is_int8()) {
    PINGTI_ASSIGN_OR_RETURN(cache->scales_, CudaBuffer::MakeZeroed(num_scales * kScaleBytes));
    PINGTI_ASSIGN_OR_RETURN(cache->widened_, CudaBuffer::MakeZeroed(2 * largest));
  }
  PINGTI_ASSIGN_OR_RETURN(
      cache->lists_,
      CudaBuffer::Make(shape.num_blocks * static_cast<int64_t>(sizeof(kernels::KvPageCopy))));
  PINGTI_RETURN_IF_ERROR(cache->ListPlanes());
  return cache;
}

absl::Status CudaKvCache::ListPlanes() {
  std::vector<kernels::KvCopyPlane> planes;
  layout_.block_tokens = shape_.block_tokens;
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    if (layers_[layer].num_kv_heads == 0) continue;
    kernels::KvCopyPlane of_layer[kernels::kMaxKvCopyPlanesPerLayer];
    const auto index = static_cast<int64_t>(layer);
    const int count = kernels::ListKvCopyPlanes(View(index), of_layer);
    if (layers_[layer].is_latent) {
      AddLatentsToLayout(index, of_layer);
    } else {
      AddToLayout(index, of_layer);
    }
    planes.insert(planes.end(), of_layer, of_layer + count);
  }
  for (const kernels::KvCopyPlane& plane : planes) {
    max_page_bytes_ = std::max(max_page_bytes_, plane.page_bytes);
  }
  const size_t bytes = planes.size() * sizeof(kernels::KvCopyPlane);
  PINGTI_ASSIGN_OR_RETURN(planes_, CudaBuffer::Make(static_cast<int64_t>(bytes)));
  PINGTI_RETURN_IF_CUDA_ERROR(
      cudaMemcpy(planes_->data(), planes.data(), bytes, cudaMemcpyHostToDevice));
  num_planes_ = static_cast<int32_t>(planes.size());
  return absl::OkStatus();
}

// Lays the planes of one layer out behind those of the layers before it.
void CudaKvCache::AddToLayout(int64_t layer, kernels::KvCopyPlane* planes) {
  const int64_t tokens = shape_.block_tokens;
  KvPlaneLayout plane;
  plane.layer = layer;
  plane.heads = At(layer).num_kv_heads;
  plane.head_dim = plane.token_stride = At(layer).head_dim;
  plane.head_stride = tokens * plane.head_dim;
  plane.dim_stride = 1;
  plane.dtype = is_int8() ? DType::kI8 : DType::kBf16;
  for (const KvPlaneKind kind : {KvPlaneKind::kKey, KvPlaneKind::kValue}) {
    plane.kind = kind;
    plane.offset = planes->packed_offset = layout_.bytes;
    layout_.planes.push_back(plane);
    layout_.bytes += planes->page_bytes;
    ++planes;
  }
  if (!is_int8()) return;
  // The scales of both are one plane of the device.
  plane.is_scale = true;
  plane.dtype = DType::kF32;
  plane.head_dim = plane.token_stride = 1;
  plane.head_stride = 2 * tokens;
  planes->packed_offset = layout_.bytes;
  for (const KvPlaneKind kind : {KvPlaneKind::kKey, KvPlaneKind::kValue}) {
    plane.kind = kind;
    plane.offset = layout_.bytes + (kind == KvPlaneKind::kValue ? tokens * kScaleBytes : 0);
    layout_.planes.push_back(plane);
  }
  layout_.bytes += planes->page_bytes;
}

// The same of a layer of latents, whose pages are one plane of the device and, in int8, three of
// the layout: see latent_attention.h.
void CudaKvCache::AddLatentsToLayout(int64_t layer, kernels::KvCopyPlane* plane) {
  const int64_t tokens = shape_.block_tokens;
  const auto add = [&](DType dtype, int64_t offset, int64_t dims, int64_t row_elements) {
    KvPlaneLayout part;
    part.layer = layer;
    part.kind = KvPlaneKind::kLatent;
    part.dtype = dtype;
    part.heads = 1;
    part.head_dim = dims;
    part.offset = layout_.bytes + offset;
    part.head_stride = tokens * row_elements;
    part.token_stride = row_elements;
    part.dim_stride = 1;
    layout_.planes.push_back(part);
  };
  if (is_int8()) {
    add(DType::kI8, 0, kernels::kLatentValueDim, kernels::kLatentInt8RowBytes);
    add(DType::kBf16, kernels::kLatentValueDim, kernels::kLatentRopeDim,
        kernels::kLatentInt8RowBytes / 2);
    layout_.planes.back().first_dim = kernels::kLatentValueDim;
    add(DType::kBf16, tokens * kernels::kLatentInt8RowBytes, kernels::kLatentScales,
        kernels::kLatentScales);
    layout_.planes.back().is_scale = true;
  } else {
    add(DType::kBf16, 0, kernels::kLatentKeyDim, kernels::kLatentKeyDim);
  }
  plane->packed_offset = layout_.bytes;
  layout_.bytes += plane->page_bytes;
}

int64_t CudaKvCache::LatentBytes() const {
  const int64_t bytes = is_int8() ? kernels::kLatentInt8Bytes : 2 * kernels::kLatentKeyDim;
  return shape_.num_blocks * shape_.block_tokens * bytes;
}

int64_t CudaKvCache::PoolElements(const Layer& layer) const {
  return shape_.num_blocks * layer.num_kv_heads * shape_.block_tokens * layer.head_dim;
}

kernels::PagedKv CudaKvCache::Pages(const Layer& layer, kernels::DType dtype) const {
  PINGTI_CHECK(layer.num_kv_heads > 0);
  kernels::PagedKv kv;
  kv.num_pages = static_cast<int32_t>(shape_.num_blocks);
  kv.num_kv_heads = static_cast<int32_t>(layer.num_kv_heads);
  kv.page_tokens = static_cast<int32_t>(shape_.block_tokens);
  kv.head_dim = static_cast<int32_t>(layer.head_dim);
  kv.dtype = dtype;
  if (layer.is_latent) {
    kernels::SetLatentStrides(&kv);
  } else {
    kernels::SetDenseStrides(&kv);
  }
  return kv;
}

kernels::PagedKv CudaKvCache::View(int64_t index) const {
  const Layer& layer = At(index);
  kernels::PagedKv kv = Pages(layer, is_int8() ? kernels::DType::kI8 : kernels::DType::kBf16);
  auto* base = static_cast<uint8_t*>(pool_->data()) + layer.start;
  kv.k = base;
  if (layer.is_latent) return kv;
  kv.v = base + PoolElements(layer) * ElementBytes(shape_);
  if (is_int8()) {
    kernels::SetPairedScales(&kv, scales_->as<float>() + layer.scale_start);
  }
  return kv;
}

kernels::PagedKv CudaKvCache::WidenedView(int64_t index) const {
  PINGTI_CHECK(is_int8());
  const Layer& layer = At(index);
  kernels::PagedKv kv = Pages(layer, kernels::DType::kBf16);
  auto* base = static_cast<uint8_t*>(widened_->data());
  kv.k = base;
  kv.v = base + PoolElements(layer) * 2;
  return kv;
}

// From pageable memory: the call returns when the list was taken.
absl::Status CudaKvCache::UploadList(const void* list, size_t bytes, cudaStream_t stream) const {
  PINGTI_RETURN_IF_CUDA_ERROR(
      cudaMemcpyAsync(lists_->data(), list, bytes, cudaMemcpyHostToDevice, stream));
  return absl::OkStatus();
}

absl::Status CudaKvCache::CopyBlocks(std::span<const BlockCopy> copies, cudaStream_t stream) {
  // A step copies at most a block per sequence; the list is far shorter than the pool.
  const auto capacity = static_cast<size_t>(shape_.num_blocks);
  for (size_t begin = 0; begin < copies.size(); begin += capacity) {
    const std::span<const BlockCopy> part =
        copies.subspan(begin, std::min(capacity, copies.size() - begin));
    std::vector<kernels::KvPageCopy> list;
    for (const BlockCopy& copy : part) list.push_back({copy.from, copy.to});
    PINGTI_RETURN_IF_ERROR(
        UploadList(list.data(), list.size() * sizeof(kernels::KvPageCopy), stream));
    kernels::CopyKvPagesParams params;
    params.planes = planes_->as<const kernels::KvCopyPlane>();
    params.num_planes = num_planes_;
    params.max_page_bytes = max_page_bytes_;
    params.copies = lists_->as<const kernels::KvPageCopy>();
    params.num_copies = static_cast<int32_t>(list.size());
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchCopyKvPages(params, stream));
  }
  return absl::OkStatus();
}

size_t CudaKvCache::MaxPackedBlocks() const {
  return static_cast<size_t>(std::min<int64_t>(shape_.num_blocks, kernels::kMaxPackPages));
}

kernels::PackKvPagesParams CudaKvCache::PackParams(size_t num_blocks, std::byte* packed) const {
  kernels::PackKvPagesParams params;
  params.planes = planes_->as<const kernels::KvCopyPlane>();
  params.num_planes = num_planes_;
  params.max_page_bytes = max_page_bytes_;
  params.pages = lists_->as<const int32_t>();
  params.num_pages = static_cast<int32_t>(num_blocks);
  params.packed = packed;
  params.packed_page_bytes = layout_.bytes;
  return params;
}

absl::Status CudaKvCache::Pack(std::span<const int32_t> blocks, std::byte* packed,
                               cudaStream_t stream) const {
  PINGTI_RETURN_IF_ERROR(UploadList(blocks.data(), blocks.size_bytes(), stream));
  PINGTI_RETURN_IF_CUDA_ERROR(
      kernels::LaunchPackKvPages(PackParams(blocks.size(), packed), stream));
  return absl::OkStatus();
}

absl::Status CudaKvCache::Unpack(std::span<const int32_t> blocks, const std::byte* packed,
                                 cudaStream_t stream) {
  PINGTI_RETURN_IF_ERROR(UploadList(blocks.data(), blocks.size_bytes(), stream));
  PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchUnpackKvPages(
      PackParams(blocks.size(), const_cast<std::byte*>(packed)), stream));
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
