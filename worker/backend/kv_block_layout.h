// How the bytes of one KV block are laid out once exported to host memory, as data: two caches with
// equal layouts may take each other's blocks, and a reader can find any element. Plain values.
// Next: Backend::ExportBlocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "worker/backend/kv_shape.h"
#include "worker/tensor/dtype.h"

namespace pingti::worker {

// One plane of one layer within a block. Element d of head h of token t lies at byte
// offset + BlockBytes(dtype) * (h * head_stride + t * token_stride + d * dim_stride).
struct KvPlaneLayout {
  int64_t layer = 0;
  KvPlaneKind kind = KvPlaneKind::kKey;
  // The plane holds the scales of the int8 plane of this kind: value = scale * int8. Per token and
  // head head_dim of them, each for an equal share of the int8 plane's elements.
  bool is_scale = false;
  DType dtype = DType::kBf16;
  int64_t heads = 0;
  int64_t head_dim = 0;
  // Where the plane's elements stand in the vector that the layer keeps, which may be shared out
  // among planes of this kind.
  int64_t first_dim = 0;
  int64_t offset = 0;  // bytes
  int64_t head_stride = 0;
  int64_t token_stride = 0;
  int64_t dim_stride = 0;

  int64_t ByteOf(int64_t head, int64_t token, int64_t dim) const {
    return offset +
           BlockBytes(dtype) * (head * head_stride + token * token_stride + dim * dim_stride);
  }
  bool operator==(const KvPlaneLayout&) const = default;
};

struct KvBlockLayout {
  int64_t block_tokens = 0;
  int64_t bytes = 0;                  // of one block
  std::vector<KvPlaneLayout> planes;  // layer by layer

  bool operator==(const KvBlockLayout&) const = default;
};

// For what exports and imports blocks of a cache of `num_blocks`; see Backend::ExportBlocks.
// InvalidArgument, naming a block that the cache does not have, or a size of the host memory other
// than that of the blocks.
absl::Status CheckBlocks(int64_t num_blocks, const KvBlockLayout& layout,
                         std::span<const int32_t> blocks, size_t bytes);
// InvalidArgument, naming a block that is there twice. REQUIRES: CheckBlocks.
absl::Status CheckDistinct(int64_t num_blocks, std::span<const int32_t> blocks);

}  // namespace pingti::worker
