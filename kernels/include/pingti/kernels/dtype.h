// The element types that kernel parameters name. Host only: no CUDA header, so that the worker can
// include it.
#pragma once

#include <cstdint>

namespace pingti::kernels {

enum class DType : uint8_t { kBf16, kF16, kF32, kI8 };

// Bytes of one element.
constexpr int ElementBytes(DType dtype) {
  switch (dtype) {
    case DType::kBf16:
    case DType::kF16:
      return 2;
    case DType::kF32:
      return 4;
    case DType::kI8:
      return 1;
  }
  return 0;
}

}  // namespace pingti::kernels
