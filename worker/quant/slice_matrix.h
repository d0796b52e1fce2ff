// Cuts a rectangle out of a weight matrix, in the type in which the checkpoint keeps it: what a
// tensor-parallel rank takes of a matrix. Reads no more of the matrix than the rectangle.
//
// Pure functions. Next: source_rows.h, which reads what comes out like any other matrix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/tensor/packed_weights.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

struct MatrixRange {
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t first_col = 0;
  int64_t cols = 0;
};

// What slices that are no view of the matrix lie in; they are good as long as this lives.
class SliceMemory {
 public:
  std::byte* Allocate(int64_t bytes) {
    // Without zeroing: all of it is written.
    return blocks_
        .emplace_back(std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(bytes)))
        .get();
  }
  void Clear() { blocks_.clear(); }

 private:
  std::vector<std::unique_ptr<std::byte[]>> blocks_;
};

// Of a matrix [rows, cols], of any type that worker/quant reads. Whole rows are a view. Where a
// boundary cuts blocks of a block type, the slice is F32 with the values that the blocks mean.
// A matrix without data gives a slice without data. REQUIRES: the range lies in the matrix.
TensorView SliceTensor(const TensorView& matrix, const MatrixRange& range, SliceMemory* memory);

// The values of the slice are exactly those of the matrix. Where a boundary cuts groups, the slice
// has smaller groups, with the same scales. REQUIRES: CheckPacked(matrix).ok(); the range lies in
// the matrix.
// Errors: Unimplemented, naming the tensor, where a boundary cuts a word or leaves groups of a size
// that packed weights cannot have.
absl::StatusOr<PackedWeights> SlicePacked(const PackedWeights& matrix, const MatrixRange& range,
                                          SliceMemory* memory);

// The values of a range of packed weights as F32: for columns in the order of their activations,
// whose groups lie anywhere. REQUIRES: as for SlicePacked.
TensorView SliceValues(const PackedWeights& matrix, const MatrixRange& range, SliceMemory* memory);

}  // namespace pingti::worker
