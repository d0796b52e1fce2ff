#include "worker/backend/cuda/cuda_timer.h"

#include <utility>

#include "common/base/status_macros.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {

CudaTimer::~CudaTimer() {
  for (const cudaEvent_t event : events_) cudaEventDestroy(event);
}

absl::Status CudaTimer::Mark() {
  if (num_marks_ == events_.size()) {
    cudaEvent_t event = nullptr;
    PINGTI_RETURN_IF_CUDA_ERROR(cudaEventCreate(&event));
    events_.push_back(event);
  }
  PINGTI_RETURN_IF_CUDA_ERROR(cudaEventRecord(events_[num_marks_], stream_));
  ++num_marks_;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<double>> CudaTimer::Take() {
  const size_t count = std::exchange(num_marks_, 0);
  std::vector<double> seconds;
  if (count == 0) return seconds;
  PINGTI_RETURN_IF_CUDA_ERROR(cudaEventSynchronize(events_[count - 1]));
  for (size_t i = 1; i < count; ++i) {
    float ms = 0.0f;
    PINGTI_RETURN_IF_CUDA_ERROR(cudaEventElapsedTime(&ms, events_[i - 1], events_[i]));
    seconds.push_back(static_cast<double>(ms) * 1e-3);
  }
  return seconds;
}

}  // namespace pingti::worker::cuda
