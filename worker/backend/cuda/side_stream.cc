#include "worker/backend/cuda/side_stream.h"

#include "common/base/status_macros.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {

SideStream::~SideStream() {
  if (stream_ != nullptr) cudaStreamSynchronize(stream_);
  if (forked_ != nullptr) cudaEventDestroy(forked_);
  if (joined_ != nullptr) cudaEventDestroy(joined_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

absl::Status SideStream::Make() {
  if (stream_ != nullptr) return absl::OkStatus();
  int lowest = 0;
  int highest = 0;
  PINGTI_RETURN_IF_CUDA_ERROR(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
  PINGTI_RETURN_IF_CUDA_ERROR(
      cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, highest));
  PINGTI_RETURN_IF_CUDA_ERROR(cudaEventCreateWithFlags(&forked_, cudaEventDisableTiming));
  PINGTI_RETURN_IF_CUDA_ERROR(cudaEventCreateWithFlags(&joined_, cudaEventDisableTiming));
  return absl::OkStatus();
}

absl::Status SideStream::Fork(cudaStream_t main) {
  PINGTI_RETURN_IF_CUDA_ERROR(cudaEventRecord(forked_, main));
  PINGTI_RETURN_IF_CUDA_ERROR(cudaStreamWaitEvent(stream_, forked_));
  return absl::OkStatus();
}

absl::Status SideStream::Join(cudaStream_t main) {
  PINGTI_RETURN_IF_CUDA_ERROR(cudaEventRecord(joined_, stream_));
  PINGTI_RETURN_IF_CUDA_ERROR(cudaStreamWaitEvent(main, joined_));
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
