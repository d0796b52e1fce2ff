// A matrix of any dtype that collectives take, in host memory of its own and filled with numbers,
// for tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "worker/tensor/float16.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker::testing {

// A matrix in memory of its own; what lies between its rows must stay as it is.
class HostMatrix {
 public:
  HostMatrix(DType dtype, int64_t rows, int64_t cols, int64_t stride)
      : bytes_(static_cast<size_t>(rows * stride * BlockBytes(dtype)), std::byte{0x7b}),
        view_{nullptr, dtype, rows, cols, stride} {}

  MatrixView view() {
    MatrixView view = view_;
    view.data = bytes_.data();
    return view;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

  double Get(int64_t row, int64_t col) const {
    const std::byte* at = At(row, col);
    switch (view_.dtype) {
      case DType::kF32:
        return Read<float>(at);
      case DType::kBf16:
        return Bf16ToFloat(Read<uint16_t>(at));
      default:
        return Read<int32_t>(at);
    }
  }

  void Set(int64_t row, int64_t col, double value) {
    std::byte* at = const_cast<std::byte*>(At(row, col));
    switch (view_.dtype) {
      case DType::kF32:
        return Write(at, static_cast<float>(value));
      case DType::kBf16:
        return Write(at, FloatToBf16(static_cast<float>(value)));
      default:
        return Write(at, static_cast<int32_t>(value));
    }
  }

  void Fill(std::mt19937* rng) {
    std::normal_distribution<double> normal(0.0, 1000.0);
    for (int64_t r = 0; r < view_.rows; ++r) {
      for (int64_t c = 0; c < view_.cols; ++c) Set(r, c, normal(*rng));
    }
  }

  bool GapsAreUntouched() const {
    for (int64_t r = 0; r < view_.rows; ++r) {
      for (int64_t c = view_.cols; c < view_.stride; ++c) {
        for (int64_t b = 0; b < BlockBytes(view_.dtype); ++b) {
          if (At(r, c)[b] != std::byte{0x7b}) return false;
        }
      }
    }
    return true;
  }

  // The elements alone, row by row.
  std::vector<std::byte> Elements() const {
    std::vector<std::byte> elements;
    const int64_t row_bytes = view_.cols * BlockBytes(view_.dtype);
    for (int64_t r = 0; r < view_.rows; ++r) {
      elements.insert(elements.end(), At(r, 0), At(r, 0) + row_bytes);
    }
    return elements;
  }

 private:
  template <typename T>
  static T Read(const std::byte* at) {
    T value;
    std::memcpy(&value, at, sizeof(T));
    return value;
  }
  template <typename T>
  static void Write(std::byte* at, T value) {
    std::memcpy(at, &value, sizeof(T));
  }
  const std::byte* At(int64_t row, int64_t col) const {
    return bytes_.data() + (row * view_.stride + col) * BlockBytes(view_.dtype);
  }

  std::vector<std::byte> bytes_;
  MatrixView view_;  // without data
};

}  // namespace pingti::worker::testing
