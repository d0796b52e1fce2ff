// A weight matrix of a checkpoint in host memory, as backends take it. Plain views; next:
// worker/quant/source_rows.h, which reads it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "worker/tensor/packed_weights.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

// One weight matrix in host memory, of a type that worker/quant can read.
struct MatrixSource {
  // [rows, cols]. Without data: the backend draws random weights of this shape (for benchmarks).
  TensorView tensor;
  // Scale of each row of an I8 tensor: value = scale * q. Empty otherwise. [rows]
  std::vector<float> row_scale;
  // Set: the values are packed in words. `tensor` is then a view of the words under the matrix's
  // logical shape. No row_scale, no interleaved_heads.
  std::optional<PackedWeights> packed;
  // Not 0: the rows are those of this many heads in GGUF's order for adjacent-pair rotation; the
  // prepared matrix has row 2i + j of a head as row i + j * head_dim / 2.
  int64_t interleaved_heads = 0;
};

}  // namespace pingti::worker
