// A second stream, for work beside the main one's: it leaves the main stream at a fork and comes
// back at a join. Both can be recorded into a graph. Confined to the engine thread.
#pragma once

#include <cuda_runtime_api.h>

#include "absl/status/status.h"

namespace pingti::worker::cuda {

class SideStream {
 public:
  SideStream() = default;
  ~SideStream();
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

  // Once, outside of any recording. Blocks of the stream's kernels go before those of others.
  absl::Status Make();
  // What is issued on stream() from here on comes after all that was issued on `main`.
  absl::Status Fork(cudaStream_t main);
  // What is issued on `main` from here on comes after all that was issued on stream().
  absl::Status Join(cudaStream_t main);
  cudaStream_t stream() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
  cudaEvent_t forked_ = nullptr;
  cudaEvent_t joined_ = nullptr;
};

}  // namespace pingti::worker::cuda
