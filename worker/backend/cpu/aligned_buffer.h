// Host memory aligned to cache lines and, when large, backed by huge pages where the kernel allows.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <utility>

#include "absl/status/statusor.h"

namespace pingti::worker::cpu {

// Move-only; contents start uninitialised.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  ~AlignedBuffer() { std::free(data_); }
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  // Errors: ResourceExhausted naming the size.
  static absl::StatusOr<AlignedBuffer> Make(int64_t bytes);

  int64_t bytes() const { return bytes_; }
  template <typename T>
  T* as() {
    return static_cast<T*>(data_);
  }
  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data_);
  }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace pingti::worker::cpu
