#include "worker/backend/kv_block_layout.h"

#include "common/base/strings.h"

namespace pingti::worker {

absl::Status CheckBlocks(int64_t num_blocks, const KvBlockLayout& layout,
                         std::span<const int32_t> blocks, size_t bytes) {
  for (const int32_t block : blocks) {
    if (block < 0 || block >= num_blocks) {
      return absl::InvalidArgumentError(
          Concat("KV block ", block, "; expected 0 to ", num_blocks - 1));
    }
  }
  const size_t expected = blocks.size() * static_cast<size_t>(layout.bytes);
  if (bytes != expected) {
    return absl::InvalidArgumentError(Concat("host memory of ", bytes, " bytes for ", blocks.size(),
                                             " KV blocks; expected ", expected));
  }
  return absl::OkStatus();
}

absl::Status CheckDistinct(int64_t num_blocks, std::span<const int32_t> blocks) {
  std::vector<bool> seen(static_cast<size_t>(num_blocks));
  for (const int32_t block : blocks) {
    if (seen[static_cast<size_t>(block)]) {
      return absl::InvalidArgumentError(
          Concat("KV block ", block, " is named twice; expected blocks that differ"));
    }
    seen[static_cast<size_t>(block)] = true;
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker
