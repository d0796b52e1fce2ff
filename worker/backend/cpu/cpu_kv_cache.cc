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
      head_elements_(2 * shape.block_tokens * shape.head_dim),
      element_bytes_(ElementBytes(shape)),
      data_(std::move(data)) {}

int64_t CpuKvCache::BytesPerBlock(const KvCacheShape& shape) {
  return shape.num_layers * shape.num_kv_heads * 2 * shape.block_tokens * shape.head_dim *
         ElementBytes(shape);
}

absl::StatusOr<std::unique_ptr<CpuKvCache>> CpuKvCache::Make(const KvCacheShape& shape,
                                                             const CpuKernels* kernels) {
  if (shape.kv_format == KvFormat::kInt8) {
    return absl::UnimplementedError("CPU attention: an int8 KV cache; expected the model's format");
  }
  absl::StatusOr<AlignedBuffer> data = AlignedBuffer::Make(BytesPerBlock(shape) * shape.num_blocks);
  if (!data.ok()) {
    return absl::ResourceExhaustedError(Concat(
        "KV cache: ", shape.num_blocks, " blocks of ", BytesPerBlock(shape), " bytes (",
        shape.num_layers, " layers x ", shape.num_kv_heads, " heads x 2 x ", shape.block_tokens,
        " tokens x ", shape.head_dim, " x ", ElementBytes(shape), " bytes) cannot be allocated"));
  }
  return std::unique_ptr<CpuKvCache>(new CpuKvCache(shape, kernels, *std::move(data)));
}

void CpuKvCache::Append(int64_t layer, int32_t block, int64_t offset, int64_t head,
                        const float* key, const float* value) {
  const int64_t dim = shape_.head_dim;
  const int64_t tokens = shape_.block_tokens;
  const int64_t start = Offset(layer, block, head);
  if (element_bytes_ == 4) {
    float* keys = data_.as<float>() + start;
    for (int64_t d = 0; d < dim; ++d) keys[d * tokens + offset] = key[d];
    std::memcpy(keys + head_elements_ / 2 + offset * dim, value, static_cast<size_t>(dim) * 4);
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
  kernels_->float_to_f16(value, dim, keys + head_elements_ / 2 + offset * dim);
}

template <typename T>
void CpuKvCache::LoadTileOf(int64_t layer, int64_t head, const int32_t* block_table, int64_t first,
                            int64_t count, float* keys, float* values) const {
  const int64_t dim = shape_.head_dim;
  const int64_t tokens = shape_.block_tokens;
  for (int64_t done = 0; done < count;) {
    const int64_t token = first + done;
    const int64_t offset = token % tokens;
    const int64_t run = std::min(count - done, tokens - offset);
    const T* block = data_.as<T>() + Offset(layer, block_table[token / tokens], head);
    ToFloat(*kernels_, block + offset, {dim, tokens, run}, keys + done, kKvTile);
    ToFloat(*kernels_, block + head_elements_ / 2 + offset * dim, {run, dim, dim},
            values + done * dim, dim);
    done += run;
  }
}

void CpuKvCache::LoadTile(int64_t layer, int64_t head, const int32_t* block_table, int64_t first,
                          int64_t count, float* keys, float* values) const {
  if (element_bytes_ == 4) {
    LoadTileOf<float>(layer, head, block_table, first, count, keys, values);
  } else {
    LoadTileOf<uint16_t>(layer, head, block_table, first, count, keys, values);
  }
}

void CpuKvCache::CopyBlock(const BlockCopy& copy) {
  const int64_t bytes = shape_.num_kv_heads * head_elements_ * element_bytes_;
  for (int64_t layer = 0; layer < shape_.num_layers; ++layer) {
    uint8_t* base = data_.as<uint8_t>();
    std::memcpy(base + Offset(layer, copy.to, 0) * element_bytes_,
                base + Offset(layer, copy.from, 0) * element_bytes_, static_cast<size_t>(bytes));
  }
}

}  // namespace pingti::worker::cpu
