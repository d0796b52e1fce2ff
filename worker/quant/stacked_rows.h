// Rows of matrices that a checkpoint stacks in one tensor in a way of its own, brought together as
// an ordinary matrix: rows that lie apart, rows of which the file keeps columns, and MXFP4 in two
// tensors as Hugging Face writes it. Each function copies the rows that are asked for and no
// others.
//
// Pure functions. Next: slice_matrix.h, source_rows.h, which read what comes out.
#pragma once

#include <cstdint>

#include "worker/quant/slice_matrix.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

// Row i is row first + i * stride of a tensor, for i below `count`.
struct RowSteps {
  int64_t first = 0;
  int64_t count = 0;
  int64_t stride = 1;
};

// Those rows of a tensor [rows, ...] of any type. Without data: without data.
// REQUIRES: they exist.
TensorView GatherRows(const TensorView& tensor, const RowSteps& rows, SliceMemory* memory);

// Of `experts` matrices, each stored [cols, rows], one after the other: rows of their stack
// [experts * rows, cols]. REQUIRES: `stored` is [experts, cols, rows] of a plain type; the rows are
// of one expert.
TensorView GatherTransposedRows(const TensorView& stored, const RowSteps& rows,
                                SliceMemory* memory);

// `blocks`: U8 [experts, rows, groups, 16], of each group of 32 values the 4-bit elements, value 2i
// in the low half of byte i and value 2i + 1 in the high half. `scales`: U8 [experts, rows,
// groups], exponents. Rows of the stack [experts * rows, 32 * groups], as MXFP4.
// Sources: OCP Microscaling Formats; gpt-oss's checkpoints. REQUIRES: those shapes; the rows exist.
TensorView GatherMxfp4Rows(const TensorView& blocks, const TensorView& scales, const RowSteps& rows,
                           SliceMemory* memory);

}  // namespace pingti::worker
