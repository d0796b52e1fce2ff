// Borrowed views of tensors. They own nothing and are cheap to copy; whoever made the memory says
// how long it lives. Next: worker/weights/checkpoint.h (host tensors), worker/backend/backend.h
// (device).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/tensor/dtype.h"

namespace pingti::worker {

// A read-only tensor of a file in host memory, dense, row-major (last dimension innermost).
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  const void* data = nullptr;
  int64_t bytes = 0;

  int64_t NumElements() const;
  // Bytes of one innermost row, which for block types is a whole number of blocks.
  int64_t RowBytes() const;
  std::string ShapeString() const;  // "[576, 1536]"
};

// A matrix of activations on a backend's device: element (r, c) is data[r * stride + c].
struct MatrixView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements between rows, >= cols

  // Columns [first, first + count) of the same rows. Plain dtypes only.
  MatrixView Columns(int64_t first, int64_t count) const;
  // Rows [first, first + count).
  MatrixView Rows(int64_t first, int64_t count) const;
};

}  // namespace pingti::worker
