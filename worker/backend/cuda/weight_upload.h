// Streams weight matrices from files to the device: rows are converted on the host by a few threads
// into one of two page-locked buffers while the other is on its way.
//
// Used while loading, then dropped with its buffers. Confined to the loading thread, but for the
// threads it starts and joins within a call.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "worker/backend/cuda/device_memory.h"

namespace pingti::worker::cuda {

class WeightUpload {
 public:
  // Writes rows [first, last), in the form that the device gets them, to `out`. Called from several
  // threads at once, with rows of their own.
  using WriteRows = std::function<void(int64_t first, int64_t last, uint8_t* out)>;
  // After the copy of rows [first, first + count) was issued.
  using OnChunk = std::function<absl::Status(int64_t first, int64_t count)>;

  explicit WeightUpload(cudaStream_t stream) : stream_(stream) {}
  // Waits for copies on their way.
  ~WeightUpload();

  // Copies `rows` rows of `row_bytes` to `target`, dense, in the stream.
  absl::Status Rows(int64_t rows, int64_t row_bytes, const WriteRows& write, uint8_t* target);
  // The same through a staging area on the device, whose content each chunk replaces: `on_chunk`
  // issues what consumes it. `staging()` is where chunks lie.
  absl::Status StagedRows(int64_t rows, int64_t row_bytes, const WriteRows& write,
                          const OnChunk& on_chunk);
  const uint8_t* staging() const { return static_cast<const uint8_t*>(staging_->data()); }

 private:
  absl::Status Stream(int64_t rows, int64_t row_bytes, const WriteRows& write, uint8_t* target,
                      bool staged, const OnChunk& on_chunk);
  absl::Status Reserve(int64_t row_bytes);

  const cudaStream_t stream_;
  std::array<PinnedBuffer, 2> pinned_;
  std::array<CudaEvent, 2> copied_;
  size_t next_ = 0;
  std::unique_ptr<CudaBuffer> staging_;
};

}  // namespace pingti::worker::cuda
