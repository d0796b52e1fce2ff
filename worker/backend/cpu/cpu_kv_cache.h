// Paged keys and values in host memory, and how tiles of them reach the attention kernel.
//
// Per layer, block and key-value head: keys transposed [head_dim][block_tokens], so that 16 tokens'
// scores fill a vector, and values [block_tokens][head_dim]. Elements are f32 for f32 models, f16
// for all others (f16 rather than bf16: three more bits of mantissa at the same size).
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/backend/cpu/aligned_buffer.h"
#include "worker/backend/cpu/cpu_kernels.h"

namespace pingti::worker::cpu {

class CpuKvCache : public KvCache {
 public:
  static absl::StatusOr<std::unique_ptr<CpuKvCache>> Make(const KvCacheShape& shape,
                                                          const CpuKernels* kernels);
  static int64_t BytesPerBlock(const KvCacheShape& shape);

  const KvCacheShape& shape() const { return shape_; }

  // Writes one token's key and value of one head; each [head_dim].
  void Append(int64_t layer, int32_t block, int64_t offset, int64_t head, const float* key,
              const float* value);

  // Loads tokens [first, first + count) of a sequence into an attention tile; keys
  // [head_dim][kKvTile], values [kKvTile][head_dim]. REQUIRES: count <= kKvTile.
  void LoadTile(int64_t layer, int64_t head, const int32_t* block_table, int64_t first,
                int64_t count, float* keys, float* values) const;

  void CopyBlock(const BlockCopy& copy);

 private:
  CpuKvCache(const KvCacheShape& shape, const CpuKernels* kernels, AlignedBuffer data);

  // Of the keys of (layer, block, head); the values follow head_elements_ / 2 later.
  int64_t Offset(int64_t layer, int64_t block, int64_t head) const {
    return ((layer * shape_.num_blocks + block) * shape_.num_kv_heads + head) * head_elements_;
  }

  template <typename T>
  void LoadTileOf(int64_t layer, int64_t head, const int32_t* block_table, int64_t first,
                  int64_t count, float* keys, float* values) const;

  const KvCacheShape shape_;
  const CpuKernels* const kernels_;
  const int64_t head_elements_;  // keys and values of one head of one block
  const int64_t element_bytes_;
  AlignedBuffer data_;
};

}  // namespace pingti::worker::cpu
