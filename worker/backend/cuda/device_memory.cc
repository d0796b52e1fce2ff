#include "worker/backend/cuda/device_memory.h"

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {

absl::StatusOr<std::unique_ptr<CudaBuffer>> CudaBuffer::Make(int64_t bytes) {
  void* data = nullptr;
  if (bytes > 0) {
    const cudaError_t error = cudaMalloc(&data, static_cast<size_t>(bytes));
    if (error != cudaSuccess) {
      size_t free = 0;
      size_t total = 0;
      cudaMemGetInfo(&free, &total);
      return CudaStatus(error, Concat("cudaMalloc of ", bytes >> 20, " MiB with ", free >> 20,
                                      " MiB of ", total >> 20, " MiB free"));
    }
  }
  return std::unique_ptr<CudaBuffer>(new CudaBuffer(data, bytes));
}

absl::StatusOr<std::unique_ptr<CudaBuffer>> CudaBuffer::MakeZeroed(int64_t bytes) {
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<CudaBuffer> buffer, Make(bytes));
  if (bytes > 0) {
    PINGTI_RETURN_IF_CUDA_ERROR(cudaMemset(buffer->data(), 0, static_cast<size_t>(bytes)));
    // The streams that use the memory do not wait for the default stream.
    PINGTI_RETURN_IF_CUDA_ERROR(cudaDeviceSynchronize());
  }
  return buffer;
}

CudaBuffer::~CudaBuffer() {
  if (data_ != nullptr) cudaFree(data_);
}

absl::StatusOr<PinnedBuffer> PinnedBuffer::Make(int64_t bytes) {
  PinnedBuffer buffer;
  void* data = nullptr;
  PINGTI_RETURN_IF_CUDA_ERROR(cudaMallocHost(&data, static_cast<size_t>(bytes)));
  buffer.data_ = static_cast<uint8_t*>(data);
  buffer.bytes_ = bytes;
  return buffer;
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) cudaFreeHost(data_);
}

CudaEvent::~CudaEvent() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}

absl::Status CudaEvent::Record(cudaStream_t stream) {
  if (event_ == nullptr) {
    PINGTI_RETURN_IF_CUDA_ERROR(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming));
  }
  PINGTI_RETURN_IF_CUDA_ERROR(cudaEventRecord(event_, stream));
  return absl::OkStatus();
}

absl::Status CudaEvent::Wait() {
  if (event_ == nullptr) return absl::OkStatus();
  PINGTI_RETURN_IF_CUDA_ERROR(cudaEventSynchronize(event_));
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
