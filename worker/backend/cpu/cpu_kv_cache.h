// Paged keys and values in host memory, and how tiles of them reach the attention kernel.
//
// Per layer, block and key-value head: keys transposed [head_dim][block_tokens], so that 16 tokens'
// scores fill a vector, and values [block_tokens][head_dim]. Of latent attention, per layer and
// block: latents [block_tokens][head_dim], which are keys and values at once. Elements are f32 for
// f32 models, f16 for all others (f16 rather than bf16: three more bits of mantissa at the same
// size). A layer's blocks lie together, and a block's heads within them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/backend/cpu/aligned_buffer.h"
#include "worker/backend/cpu/cpu_kernels.h"

namespace pingti::worker::cpu {

class CpuKvCache : public KvCache {
 public:
  // Errors: see Backend::AllocateKvCache.
  static absl::StatusOr<std::unique_ptr<CpuKvCache>> Make(const KvCacheShape& shape,
                                                          const CpuKernels* kernels);
  static int64_t BytesPerBlock(const KvCacheShape& shape);

  const KvCacheShape& shape() const { return shape_; }
  const KvBlockLayout& block_layout() const override { return layout_; }

  // Writes one token's key and value of one head; each [head_dim].
  void Append(int64_t layer, int32_t block, int64_t offset, int64_t head, const float* key,
              const float* value);

  // Loads tokens [first, first + count) of a sequence into an attention tile; keys
  // [head_dim][kKvTile], values [kKvTile][head_dim]. REQUIRES: count <= kKvTile.
  void LoadTile(int64_t layer, int64_t head, const int32_t* block_table, int64_t first,
                int64_t count, float* keys, float* values) const;

  // The same two of a layer of latents: one token's, [head_dim]; and a tile of which values are the
  // latents' first `value_dim` elements, [kKvTile][value_dim].
  void AppendLatent(int64_t layer, int32_t block, int64_t offset, const float* latent);
  void LoadLatentTile(int64_t layer, const int32_t* block_table, int64_t first, int64_t count,
                      int64_t value_dim, float* keys, float* values) const;

  void CopyBlock(const BlockCopy& copy);
  // One block's bytes, in block_layout(). REQUIRES: block_layout().bytes of them.
  void ExportBlock(int32_t block, std::byte* out) const;
  void ImportBlock(int32_t block, const std::byte* in);

 private:
  // Sizes in elements.
  struct Layer {
    int64_t head_dim = 0;
    int64_t head_elements = 0;   // keys and values, or latents, of one head of one block
    int64_t block_elements = 0;  // of all heads
    int64_t start = 0;           // of block 0
  };

  CpuKvCache(const KvCacheShape& shape, const CpuKernels* kernels, AlignedBuffer data);
  void AddLayer(const KvLayerShape& layer);
  void AddLatents(const KvPlane& plane);
  void AddKeysAndValues(const KvPlane& key);

  // Of the keys of (layer, block, head); the values follow head_elements / 2 later.
  static int64_t Offset(const Layer& layer, int64_t block, int64_t head) {
    return layer.start + block * layer.block_elements + head * layer.head_elements;
  }

  template <typename T>
  void LoadTileOf(const Layer& layer, int64_t head, const int32_t* block_table, int64_t first,
                  int64_t count, float* keys, float* values) const;
  template <typename T>
  void LoadLatentTileOf(const Layer& layer, const int32_t* block_table, int64_t first,
                        int64_t count, int64_t value_dim, float* keys, float* values) const;

  const KvCacheShape shape_;
  const CpuKernels* const kernels_;
  const int64_t element_bytes_;
  AlignedBuffer data_;
  std::vector<Layer> layers_;
  KvBlockLayout layout_;
};

}  // namespace pingti::worker::cpu
