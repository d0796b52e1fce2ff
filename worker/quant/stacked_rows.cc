#include "worker/quant/stacked_rows.h"

#include <cstring>

#include "common/base/check.h"
#include "worker/tensor/dtype.h"

namespace pingti::worker {
namespace {

constexpr int64_t kGroupValues = 32;
constexpr int64_t kGroupBytes = kGroupValues / 2;

// Room for `rows` rows of `cols` values, named as `from` is.
TensorView NewMatrix(const TensorView& from, DType dtype, int64_t rows, int64_t cols) {
  TensorView matrix{from.name, dtype, {rows, cols}, nullptr, 0};
  matrix.bytes = rows * matrix.RowBytes();
  return matrix;
}

// A group's elements from adjacent pairs to GGUF's order: byte i holds value i low and value
// i + 16 high.
void ReorderGroup(const uint8_t* pairs, uint8_t* out) {
  const auto element = [pairs](int64_t i) {
    return static_cast<uint8_t>(i % 2 == 0 ? pairs[i / 2] & 15 : pairs[i / 2] >> 4);
  };
  for (int64_t i = 0; i < kGroupBytes; ++i) {
    out[i] = static_cast<uint8_t>(element(i) | element(i + kGroupBytes) << 4);
  }
}

}  // namespace

TensorView GatherRows(const TensorView& tensor, const RowSteps& rows, SliceMemory* memory) {
  PINGTI_CHECK(rows.first + (rows.count - 1) * rows.stride < tensor.shape[0]);
  const int64_t row_bytes = tensor.bytes / tensor.shape[0];
  TensorView gathered = tensor;
  gathered.shape[0] = rows.count;
  gathered.bytes = rows.count * row_bytes;
  if (tensor.data == nullptr) return gathered;
  std::byte* out = memory->Allocate(gathered.bytes);
  gathered.data = out;
  const auto* in = static_cast<const std::byte*>(tensor.data);
  for (int64_t i = 0; i < rows.count; ++i, out += row_bytes) {
    std::memcpy(out, in + (rows.first + i * rows.stride) * row_bytes,
                static_cast<size_t>(row_bytes));
  }
  return gathered;
}

TensorView GatherTransposedRows(const TensorView& stored, const RowSteps& rows,
                                SliceMemory* memory) {
  const int64_t cols = stored.shape[1];
  const int64_t expert_rows = stored.shape[2];
  const int64_t expert = rows.first / expert_rows;
  const int64_t first = rows.first % expert_rows;
  PINGTI_CHECK(first + (rows.count - 1) * rows.stride < expert_rows && !IsBlockType(stored.dtype));
  TensorView matrix = NewMatrix(stored, stored.dtype, rows.count, cols);
  if (stored.data == nullptr) return matrix;
  const auto size = static_cast<size_t>(BlockBytes(stored.dtype));
  std::byte* const out = memory->Allocate(matrix.bytes);
  matrix.data = out;
  const auto* in = static_cast<const std::byte*>(stored.data) +
                   static_cast<size_t>(expert * cols * expert_rows) * size;
  for (int64_t c = 0; c < cols; ++c) {
    for (int64_t i = 0; i < rows.count; ++i) {
      const auto from = static_cast<size_t>(c * expert_rows + first + i * rows.stride);
      std::memcpy(out + static_cast<size_t>(i * cols + c) * size, in + from * size, size);
    }
  }
  return matrix;
}

TensorView GatherMxfp4Rows(const TensorView& blocks, const TensorView& scales, const RowSteps& rows,
                           SliceMemory* memory) {
  const int64_t groups = blocks.shape[2];
  TensorView matrix = NewMatrix(blocks, DType::kMxfp4, rows.count, groups * kGroupValues);
  auto* out = reinterpret_cast<uint8_t*>(memory->Allocate(matrix.bytes));
  matrix.data = out;
  for (int64_t i = 0; i < rows.count; ++i) {
    const int64_t first = (rows.first + i * rows.stride) * groups;
    const auto* pairs = static_cast<const uint8_t*>(blocks.data) + first * kGroupBytes;
    const auto* exponents = static_cast<const uint8_t*>(scales.data) + first;
    for (int64_t g = 0; g < groups; ++g, out += 1 + kGroupBytes) {
      out[0] = exponents[g];
      ReorderGroup(pairs + g * kGroupBytes, out + 1);
    }
  }
  return matrix;
}

}  // namespace pingti::worker
