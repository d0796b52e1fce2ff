// What every kernel test does with the device: check calls, own buffers, poison them.
// Test code only: a CUDA error here ends the program with a message. Single thread. Next: run.h.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

namespace pingti::kernels::testing {

inline void CheckCuda(cudaError_t error, const char* what, const char* file, int line) {
  if (error == cudaSuccess) return;
  std::printf("%s:%d: %s: %s\n", file, line, what, cudaGetErrorString(error));
  std::fflush(stdout);
  std::exit(1);
}
#define PINGTI_CUDA(call) ::pingti::kernels::testing::CheckCuda((call), #call, __FILE__, __LINE__)

// An owning device array. Bytes start as 0xFF: NaN in every float format, -1 in every integer, so
// that an element nobody wrote, or one read without need, shows.
template <typename T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(size_t size) : size_(size) {
    if (size_ == 0) return;
    PINGTI_CUDA(cudaMalloc(&data_, bytes()));
    Poison();
  }
  explicit DeviceBuffer(const std::vector<T>& host) : DeviceBuffer(host.size()) {
    if (size_ != 0) PINGTI_CUDA(cudaMemcpy(data_, host.data(), bytes(), cudaMemcpyHostToDevice));
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() { cudaFree(data_); }

  T* data() const { return data_; }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(T); }

  void Poison() {
    if (size_ != 0) PINGTI_CUDA(cudaMemset(data_, 0xFF, bytes()));
  }
  void Zero() {
    if (size_ != 0) PINGTI_CUDA(cudaMemset(data_, 0, bytes()));
  }
  // Waits for the device.
  std::vector<T> ToHost() const {
    std::vector<T> host(size_);
    if (size_ != 0) PINGTI_CUDA(cudaMemcpy(host.data(), data_, bytes(), cudaMemcpyDeviceToHost));
    return host;
  }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace pingti::kernels::testing
