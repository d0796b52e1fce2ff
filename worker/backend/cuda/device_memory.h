// Owned memory on the device and page-locked memory on the host, freed by destructors.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"

namespace pingti::worker::cuda {

// Aligned to 256 bytes (cudaMalloc). Movable through its pointer only.
class CudaBuffer : public DeviceBuffer {
 public:
  // 0 bytes give a buffer whose data() is null. Errors: ResourceExhausted, naming the size.
  static absl::StatusOr<std::unique_ptr<CudaBuffer>> Make(int64_t bytes);
  // The same, all bytes zero.
  static absl::StatusOr<std::unique_ptr<CudaBuffer>> MakeZeroed(int64_t bytes);
  ~CudaBuffer() override;
  CudaBuffer(const CudaBuffer&) = delete;
  CudaBuffer& operator=(const CudaBuffer&) = delete;

  void* data() override { return data_; }
  const void* data() const override { return data_; }
  int64_t bytes() const override { return bytes_; }
  template <typename T>
  T* as() {
    return static_cast<T*>(data_);
  }

 private:
  CudaBuffer(void* data, int64_t bytes) : data_(data), bytes_(bytes) {}
  void* const data_;
  const int64_t bytes_;
};

// Host memory that the device copies from and to without staging.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  static absl::StatusOr<PinnedBuffer> Make(int64_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  uint8_t* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  uint8_t* data_ = nullptr;
  int64_t bytes_ = 0;
};

// A point in a stream that the host can wait for.
class CudaEvent {
 public:
  CudaEvent() = default;
  ~CudaEvent();
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;

  // Makes the event on first use.
  absl::Status Record(cudaStream_t stream);
  // Returns at once if nothing was recorded.
  absl::Status Wait();

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace pingti::worker::cuda
