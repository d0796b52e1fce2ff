#include "worker/backend/cuda/kv_transfer.h"

#include <algorithm>
#include <cstring>

#include "common/base/status_macros.h"

namespace pingti::worker::cuda {
namespace {

constexpr int64_t kStagingBytes = int64_t{32} << 20;

}  // namespace

absl::StatusOr<size_t> KvTransfer::Reserve(int64_t block_bytes) {
  const int64_t bytes = std::max(kStagingBytes, block_bytes);
  for (Staging& staging : staging_) {
    if (staging.memory.bytes() >= bytes) continue;
    PINGTI_RETURN_IF_ERROR(staging.used.Wait());
    PINGTI_ASSIGN_OR_RETURN(staging.memory, PinnedBuffer::Make(bytes));
  }
  return static_cast<size_t>(bytes / block_bytes);
}

absl::Status KvTransfer::Export(const CudaKvCache& cache, std::span<const int32_t> blocks,
                                std::span<std::byte> out, cudaStream_t stream) {
  if (out.empty()) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(size_t per_part, Reserve(cache.block_layout().bytes));
  per_part = std::min(per_part, cache.MaxPackedBlocks());
  const auto block_bytes = static_cast<size_t>(cache.block_layout().bytes);
  const size_t parts = (blocks.size() + per_part - 1) / per_part;
  // Part p is copied to `out` while the device packs part p + 1.
  for (size_t p = 0; p <= parts; ++p) {
    if (p < parts) {
      const size_t count = std::min(per_part, blocks.size() - p * per_part);
      Staging& staging = staging_[p % 2];
      PINGTI_RETURN_IF_ERROR(
          cache.Pack(blocks.subspan(p * per_part, count), staging.data(), stream));
      PINGTI_RETURN_IF_ERROR(staging.used.Record(stream));
    }
    if (p == 0) continue;
    Staging& packed = staging_[(p - 1) % 2];
    PINGTI_RETURN_IF_ERROR(packed.used.Wait());
    const size_t begin = (p - 1) * per_part * block_bytes;
    std::memcpy(out.data() + begin, packed.data(),
                std::min(per_part * block_bytes, out.size() - begin));
  }
  return absl::OkStatus();
}

absl::Status KvTransfer::Import(CudaKvCache& cache, std::span<const int32_t> blocks,
                                std::span<const std::byte> in, cudaStream_t stream) {
  if (in.empty()) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(size_t per_part, Reserve(cache.block_layout().bytes));
  per_part = std::min(per_part, cache.MaxPackedBlocks());
  const auto block_bytes = static_cast<size_t>(cache.block_layout().bytes);
  for (size_t begin = 0, p = 0; begin < blocks.size(); begin += per_part, ++p) {
    const size_t count = std::min(per_part, blocks.size() - begin);
    Staging& staging = staging_[p % 2];
    PINGTI_RETURN_IF_ERROR(staging.used.Wait());
    std::memcpy(staging.data(), in.data() + begin * block_bytes, count * block_bytes);
    PINGTI_RETURN_IF_ERROR(cache.Unpack(blocks.subspan(begin, count), staging.data(), stream));
    PINGTI_RETURN_IF_ERROR(staging.used.Record(stream));
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
