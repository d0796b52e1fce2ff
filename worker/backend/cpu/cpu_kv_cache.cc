#include "worker/backend/cpu/cpu_kv_cache.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/tensor/float16.h"

namespace pingti::worker::cpu {
namespace {

int64_t ElementBytes(const KvCacheShape& shape) {
  return shape.format == WeightFormat::kF32 ? 4 : 2;
}

struct Rows {
  int64_t count;
  int64_t stride;
  int64_t cols;
};

void ToFloat(const CpuKernels& kernels, const uint16_t* source, const Rows& rows, float* out,
             int64_t out_stride) {
  kernels.f16_to_float(source, rows.count, rows.stride, rows.cols, out, out_stride);
}
void ToFloat(const CpuKernels&, const float* source, const Rows& rows, float* out,
             int64_t out_stride) {
  for (int64_t r = 0; r < rows.count; ++r) {
    std::memcpy(out + r * out_stride, source + r * rows.stride,
                static_cast<size_t>(rows.cols) * sizeof(float));
  }
}

}  // namespace

CpuKvCache::CpuKvCache(const KvCacheShape& shape, const CpuKernels* kernels, AlignedBuffer data)
    : shape_(shape),
      kernels_(kernels),
      element_bytes_(ElementBytes(shape)),
      data_(std::move(data)) {
  layout_.block_tokens = shape_.block_tokens;
  for (const KvLayerShape& layer : shape_.layers) AddLayer(layer);
}

void CpuKvCache::AddLayer(const KvLayerShape& shape) {
  Layer layer;
  if (!layers_.empty()) {
    layer.start = layers_.back().start + shape_.num_blocks * layers_.back().block_elements;
  }
  layers_.push_back(layer);
  if (shape.planes.empty()) return;
  const KvPlane& first = shape.planes.front();
  if (first.kind == KvPlaneKind::kLatent) {
    AddLatents(first);
  } else {
    AddKeysAndValues(first);
  }
  layout_.bytes += layers_.back().block_elements * element_bytes_;
}

void CpuKvCache::AddLatents(const KvPlane& plane) {
  Layer& layer = layers_.back();
  layer.head_dim = plane.head_dim;
  layer.head_elements = shape_.block_tokens * plane.head_dim;
  layer.block_elements = layer.head_elements;
  KvPlaneLayout layout;
  layout.layer = static_cast<int64_t>(layers_.size()) - 1;
  layout.kind = plane.kind;
  layout.dtype = element_bytes_ == 4 ? DType::kF32 : DType::kF16;
  layout.heads = 1;
  layout.head_dim = plane.head_dim;
  layout.offset = layout_.bytes;
  layout.head_stride = layer.head_elements;
  layout.token_stride = plane.head_dim;
  layout.dim_stride = 1;
  layout_.planes.push_back(layout);
}

void CpuKvCache::AddKeysAndValues(const KvPlane& key) {
  const int64_t tokens = shape_.block_tokens;
  Layer& layer = layers_.back();
  layer.head_dim = key.head_dim;
  layer.head_elements = 2 * tokens * key.head_dim;
  layer.block_elements = key.heads * layer.head_elements;
  KvPlaneLayout plane;
  plane.layer = static_cast<int64_t>(layers_.size()) - 1;
  plane.dtype = element_bytes_ == 4 ? DType::kF32 : DType::kF16;
  plane.heads = key.heads;
  plane.head_dim = key.head_dim;
  plane.offset = layout_.bytes;
  plane.head_stride = layer.head_elements;
  plane.token_stride = 1;
  plane.dim_stride = tokens;
  layout_.planes.push_back(plane);
  plane.kind = KvPlaneKind::kValue;
  plane.offset += layer.head_elements / 2 * element_bytes_;
  plane.token_stride = key.head_dim;
  plane.dim_stride = 1;
  layout_.planes.push_back(plane);
}

int64_t CpuKvCache::BytesPerBlock(const KvCacheShape& shape) {
  int64_t elements = 0;
  for (const KvLayerShape& layer : shape.layers) {
    for (const KvPlane& plane : layer.planes) elements += plane.heads * plane.head_dim;
  }
  return elements * shape.block_tokens * ElementBytes(shape);
}

absl::StatusOr<std::unique_ptr<CpuKvCache>> CpuKvCache::Make(const KvCacheShape& shape,
                                                             const CpuKernels* kernels) {
  PINGTI_RETURN_IF_ERROR(ExpectKeysAndValuesOrLatents("CPU", shape.layers));
  if (shape.num_blocks < 1 || shape.block_tokens < 1) {
    return absl::InvalidArgumentError(Concat("KV cache: ", shape.num_blocks, " blocks of ",
                                             shape.block_tokens,
                                             " tokens; expected at least 1 of each"));
  }
  if (shape.kv_format == KvFormat::kInt8) {
    return absl::UnimplementedError("CPU attention: an int8 KV cache; expected the model's format");
  }
  absl::StatusOr<AlignedBuffer> data = AlignedBuffer::Make(BytesPerBlock(shape) * shape.num_blocks);
  if (!data.ok()) {
    return absl::ResourceExhaustedError(Concat(
        "KV cache: ", shape.num_blocks, " blocks of ", BytesPerBlock(shape), " bytes (",
        shape.layers.size(), " layers, ", shape.block_tokens, " tokens) cannot be allocated"));
  }
  return std::unique_ptr<CpuKvCache>(new CpuKvCache(shape, kernels, *std::move(data)));
}

void CpuKvCache::Append(int64_t layer_index, int32_t block, int64_t offset, int64_t head,
                        const float* key, const float* value) {
  const Layer& layer = layers_[static_cast<size_t>(layer_index)];
  const int64_t dim = layer.head_dim;
  const int64_t tokens = shape_.block_tokens;
  const int64_t start = Offset(layer, block, head);
  if (element_bytes_ == 4) {
    float* keys = data_.as<float>() + start;
    for (int64_t d = 0; d < dim; ++d) keys[d * tokens + offset] = key[d];
    std::memcpy(keys + layer.head_elements / 2 + offset * dim, value, static_cast<size_t>(dim) * 4);
    return;
  }
  uint16_t* keys = data_.as<uint16_t>() + start;
  constexpr int64_t kChunk = 64;
  uint16_t halves[kChunk];
  for (int64_t d = 0; d < dim; d += kChunk) {
    const int64_t count = std::min(kChunk, dim - d);
    kernels_->float_to_f16(key + d, count, halves);
    for (int64_t i = 0; i < count; ++i) keys[(d + i) * tokens + offset] = halves[i];
  }
  kernels_->float_to_f16(value, dim, keys + layer.head_elements / 2 + offset * dim);
}

template <typename T>
void CpuKvCache::LoadTileOf(const Layer& layer, int64_t head, const int32_t* block_table,
                            int64_t first, int64_t count, float* keys, float* values) const {
  const int64_t dim = layer.head_dim;
  const int64_t tokens = shape_.block_tokens;
  for (int64_t done = 0; done < count;) {
    const int64_t token = first + done;
    const int64_t offset = token % tokens;
    const int64_t run = std::min(count - done, tokens - offset);
    const T* block = data_.as<T>() + Offset(layer, block_table[token / tokens], head);
    ToFloat(*kernels_, block + offset, {dim, tokens, run}, keys + done, kKvTile);
    ToFloat(*kernels_, block + layer.head_elements / 2 + offset * dim, {run, dim, dim},
            values + done * dim, dim);
    done += run;
  }
}

void CpuKvCache::LoadTile(int64_t layer, int64_t head, const int32_t* block_table, int64_t first,
                          int64_t count, float* keys, float* values) const {
  const Layer& of_layer = layers_[static_cast<size_t>(layer)];
  if (element_bytes_ == 4) {
    LoadTileOf<float>(of_layer, head, block_table, first, count, keys, values);
  } else {
    LoadTileOf<uint16_t>(of_layer, head, block_table, first, count, keys, values);
  }
}

void CpuKvCache::AppendLatent(int64_t layer_index, int32_t block, int64_t offset,
                              const float* latent) {
  const Layer& layer = layers_[static_cast<size_t>(layer_index)];
  const int64_t start = Offset(layer, block, 0) + offset * layer.head_dim;
  if (element_bytes_ == 4) {
    std::memcpy(data_.as<float>() + start, latent, static_cast<size_t>(layer.head_dim) * 4);
  } else {
    kernels_->float_to_f16(latent, layer.head_dim, data_.as<uint16_t>() + start);
  }
}

template <typename T>
void CpuKvCache::LoadLatentTileOf(const Layer& layer, const int32_t* block_table, int64_t first,
                                  int64_t count, int64_t value_dim, float* keys,
                                  float* values) const {
  const int64_t dim = layer.head_dim;
  const int64_t tokens = shape_.block_tokens;
  // So many columns at a time are turned within the nearest cache.
  constexpr int64_t kChunk = 16;
  float rows[kKvTile * kChunk];
  for (int64_t done = 0; done < count;) {
    const int64_t token = first + done;
    const int64_t offset = token % tokens;
    const int64_t run = std::min(count - done, tokens - offset);
    const T* block = data_.as<T>() + Offset(layer, block_table[token / tokens], 0) + offset * dim;
    ToFloat(*kernels_, block, {run, dim, value_dim}, values + done * value_dim, value_dim);
    for (int64_t d = 0; d < dim; d += kChunk) {
      const int64_t cols = std::min(kChunk, dim - d);
      ToFloat(*kernels_, block + d, {run, dim, cols}, rows, kChunk);
      for (int64_t t = 0; t < run; ++t) {
        for (int64_t i = 0; i < cols; ++i)
          keys[(d + i) * kKvTile + done + t] = rows[t * kChunk + i];
      }
    }
    done += run;
  }
}

void CpuKvCache::LoadLatentTile(int64_t layer, const int32_t* block_table, int64_t first,
                                int64_t count, int64_t value_dim, float* keys,
                                float* values) const {
  const Layer& of_layer = layers_[static_cast<size_t>(layer)];
  if (element_bytes_ == 4) {
    LoadLatentTileOf<float>(of_layer, block_table, first, count, value_dim, keys, values);
  } else {
    LoadLatentTileOf<uint16_t>(of_layer, block_table, first, count, value_dim, keys, values);
  }
}

void CpuKvCache::CopyBlock(const BlockCopy& copy) {
  uint8_t* base = data_.as<uint8_t>();
  for (const Layer& layer : layers_) {
    std::memcpy(base + Offset(layer, copy.to, 0) * element_bytes_,
                base + Offset(layer, copy.from, 0) * element_bytes_,
                static_cast<size_t>(layer.block_elements * element_bytes_));
  }
}

void CpuKvCache::ExportBlock(int32_t block, std::byte* out) const {
  for (const Layer& layer : layers_) {
    const auto bytes = static_cast<size_t>(layer.block_elements * element_bytes_);
    std::memcpy(out, data_.as<uint8_t>() + Offset(layer, block, 0) * element_bytes_, bytes);
    out += bytes;
  }
}

void CpuKvCache::ImportBlock(int32_t block, const std::byte* in) {
  for (const Layer& layer : layers_) {
    const auto bytes = static_cast<size_t>(layer.block_elements * element_bytes_);
    std::memcpy(data_.as<uint8_t>() + Offset(layer, block, 0) * element_bytes_, in, bytes);
    in += bytes;
  }
}

}  // namespace pingti::worker::cpu
