// Moves blocks of a CudaKvCache to and from host memory through two page-locked buffers: while the
// device fills or empties one, the host copies the other.
//
// Confined to the engine thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "worker/backend/cuda/cuda_kv_cache.h"
#include "worker/backend/cuda/device_memory.h"

namespace pingti::worker::cuda {

class KvTransfer {
 public:
  // See Backend::ExportBlocks: after what `stream` holds; returns when `out` is written.
  absl::Status Export(const CudaKvCache& cache, std::span<const int32_t> blocks,
                      std::span<std::byte> out, cudaStream_t stream);
  // See Backend::ImportBlocks: after what `stream` holds; returns when `in` was taken, and what is
  // issued to `stream` later sees the blocks.
  absl::Status Import(CudaKvCache& cache, std::span<const int32_t> blocks,
                      std::span<const std::byte> in, cudaStream_t stream);

 private:
  struct Staging {
    PinnedBuffer memory;
    CudaEvent used;  // the device is done with the memory
    std::byte* data() const { return reinterpret_cast<std::byte*>(memory.data()); }
  };

  // Makes the buffers large enough for a block of `block_bytes`. Returns how many they hold.
  absl::StatusOr<size_t> Reserve(int64_t block_bytes);

  std::array<Staging, 2> staging_;
};

}  // namespace pingti::worker::cuda
