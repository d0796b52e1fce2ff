// A weight matrix of a checkpoint in host memory, as backends take it. Plain views; next:
// worker/quant/source_rows.h, which reads it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "worker/tensor/packed_weights.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

// Scales of blocks of a matrix: value = scale * stored value. Blocks at the ends may be cut off.
struct BlockScales {
  TensorView scales;  // [rows / block_rows, cols / block_cols] of the whole matrix, rounded up
  int64_t block_rows = 0;
  int64_t block_cols = 0;
  // Where a slice's first value lies in the whole matrix.
  int64_t first_row = 0;
  int64_t first_col = 0;
};

// One weight matrix in host memory, of a type that worker/quant can read.
struct MatrixSource {
  // [rows, cols]. Without data: the backend draws random weights of this shape (for benchmarks).
  TensorView tensor;
  // Scale of each row of an I8 tensor: value = scale * q. Empty otherwise. [rows]
  std::vector<float> row_scale;
  // Set of an F8_E4M3 tensor alone.
  std::optional<BlockScales> block_scales;
  // Set: the values are packed in words. `tensor` is then a view of the words under the matrix's
  // logical shape. No row_scale, no interleaved_heads.
  std::optional<PackedWeights> packed;
  // Not 0: the rows are those of this many heads in GGUF's order for adjacent-pair rotation; the
  // prepared matrix has row 2i + j of a head as row i + j * head_dim / 2.
  int64_t interleaved_heads = 0;
};

}  // namespace pingti::worker
