// Times between points of a stream, by events that the device itself stamps.
//
// Two events of a stream are apart by what ran between them; where the host is slower than the
// device, also by the launch that the device waited for. Confined to the backend's thread.
#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"

namespace pingti::worker::cuda {

class CudaTimer : public DeviceTimer {
 public:
  // `stream` must outlive the timer.
  explicit CudaTimer(cudaStream_t stream) : stream_(stream) {}
  ~CudaTimer() override;
  CudaTimer(const CudaTimer&) = delete;
  CudaTimer& operator=(const CudaTimer&) = delete;

  absl::Status Mark() override;
  absl::StatusOr<std::vector<double>> Take() override;

 private:
  const cudaStream_t stream_;
  std::vector<cudaEvent_t> events_;  // kept for later marks
  size_t num_marks_ = 0;
};

}  // namespace pingti::worker::cuda
