#include "worker/quant/slice_matrix.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <string_view>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/quant/ggml_blocks.h"
#include "worker/quant/packed_reader.h"

namespace pingti::worker {
namespace {

// Elements of a dense array of lines, each `width` elements long, that a slice consists of: of line
// line_of(i), columns [first, first + count).
template <typename LineOf>
TensorView CopyLines(const TensorView& from, int64_t num_lines, const LineOf& line_of,
                     int64_t first, int64_t count, SliceMemory* memory) {
  const int64_t element = BlockBytes(from.dtype);
  const int64_t width = from.shape[1];
  TensorView slice = from;
  slice.shape = {num_lines, count};
  slice.bytes = num_lines * count * element;
  std::byte* out = memory->Allocate(slice.bytes);
  slice.data = out;
  const auto* in = static_cast<const std::byte*>(from.data);
  for (int64_t i = 0; i < num_lines; ++i, out += count * element) {
    std::memcpy(out, in + (line_of(i) * width + first) * element,
                static_cast<size_t>(count * element));
  }
  return slice;
}

// Columns by a list, for arrays whose lines are rows: column column_of(i) of lines [first, first +
// num_lines).
template <typename ColumnOf>
TensorView CopyColumns(const TensorView& from, int64_t first, int64_t num_lines, int64_t count,
                       const ColumnOf& column_of, SliceMemory* memory) {
  const int64_t element = BlockBytes(from.dtype);
  const int64_t width = from.shape[1];
  TensorView slice = from;
  slice.shape = {num_lines, count};
  slice.bytes = num_lines * count * element;
  std::byte* out = memory->Allocate(slice.bytes);
  slice.data = out;
  const auto* in = static_cast<const std::byte*>(from.data);
  for (int64_t line = first; line < first + num_lines; ++line) {
    for (int64_t i = 0; i < count; ++i, out += element) {
      std::memcpy(out, in + (line * width + column_of(i)) * element, static_cast<size_t>(element));
    }
  }
  return slice;
}

// Group size of a slice's columns, or 0: none that packed weights can have.
int64_t SlicedGroupSize(const PackedWeights& matrix, const MatrixRange& range) {
  const int64_t size = matrix.group_size;
  const int64_t last = range.first_col + range.cols - 1;
  if (range.first_col / size == last / size) return range.cols;  // one group for all
  if (range.first_col % size == 0) return size;
  const int64_t smaller = std::gcd(size, range.first_col);
  return smaller == 32 || smaller == 64 || smaller % 128 == 0 ? smaller : 0;
}

// A range in units of what its array keeps together.
struct Units {
  int64_t first = 0;
  int64_t count = 0;
};

absl::StatusOr<Units> UnitsOf(const PackedWeights& matrix, std::string_view what, int64_t first,
                              int64_t count, int64_t end, int64_t per_unit) {
  if (first % per_unit != 0 || (count % per_unit != 0 && first + count != end)) {
    return absl::UnimplementedError(
        Concat("tensor '", matrix.words.name, "': a tensor-parallel rank's share is ", what, " ",
               first, " to ", first + count - 1, ", which cuts words of ", per_unit));
  }
  return Units{first / per_unit, (count + per_unit - 1) / per_unit};
}

absl::StatusOr<TensorView> SliceWords(const PackedWeights& matrix, const MatrixRange& range,
                                      SliceMemory* memory) {
  const int64_t per_word = matrix.values_per_word();
  const bool along_rows = matrix.layout == PackedLayout::kAwq;
  PINGTI_ASSIGN_OR_RETURN(const Units rows, UnitsOf(matrix, "rows", range.first_row, range.rows,
                                                    matrix.rows, along_rows ? per_word : 1));
  PINGTI_ASSIGN_OR_RETURN(const Units cols, UnitsOf(matrix, "columns", range.first_col, range.cols,
                                                    matrix.cols, along_rows ? 1 : per_word));
  const bool row_major = matrix.layout == PackedLayout::kRowMajor;
  const Units lines = row_major ? rows : cols;
  const Units within = row_major ? cols : rows;
  return CopyLines(
      matrix.words, lines.count, [&](int64_t i) { return lines.first + i; }, within.first,
      within.count, memory);
}

}  // namespace

TensorView SliceTensor(const TensorView& matrix, const MatrixRange& range, SliceMemory* memory) {
  const auto* rows = static_cast<const std::byte*>(matrix.data);
  if (rows != nullptr) rows += range.first_row * matrix.RowBytes();
  TensorView slice = matrix;
  slice.shape = {range.rows, matrix.shape[1]};
  slice.data = rows;
  slice.bytes = range.rows * matrix.RowBytes();
  if (range.cols == matrix.shape[1]) return slice;
  const int64_t block = BlockElements(matrix.dtype);
  const bool cut = range.first_col % block != 0 || range.cols % block != 0;
  const int64_t row_bytes = matrix.RowBytes();
  if (cut) slice.dtype = DType::kF32;
  slice.shape[1] = range.cols;
  slice.bytes = range.rows * slice.RowBytes();
  if (rows == nullptr) return slice;
  std::byte* out = memory->Allocate(slice.bytes);
  slice.data = out;
  const int64_t first_block = range.first_col / block;
  const int64_t end_block = (range.first_col + range.cols + block - 1) / block;
  std::vector<float> values(static_cast<size_t>(cut ? (end_block - first_block) * block : 0));
  const int64_t out_bytes = slice.RowBytes();
  for (int64_t row = 0; row < range.rows; ++row, rows += row_bytes, out += out_bytes) {
    const std::byte* from = rows + first_block * BlockBytes(matrix.dtype);
    if (cut) {
      Dequantize(matrix.dtype, from, static_cast<int64_t>(values.size()), values.data());
      from = reinterpret_cast<const std::byte*>(values.data() + range.first_col % block);
    }
    std::memcpy(out, from, static_cast<size_t>(out_bytes));
  }
  return slice;
}

absl::StatusOr<PackedWeights> SlicePacked(const PackedWeights& matrix, const MatrixRange& range,
                                          SliceMemory* memory) {
  if (range.rows == matrix.rows && range.cols == matrix.cols) return matrix;
  if (matrix.has_group_index() && range.cols != matrix.cols) {
    return absl::UnimplementedError(
        Concat("tensor '", matrix.group_index.name,
               "': columns in the order of their activations (desc_act) cannot be divided between "
               "tensor-parallel ranks"));
  }
  PackedWeights slice = matrix;
  slice.rows = range.rows;
  slice.cols = range.cols;
  slice.group_size = SlicedGroupSize(matrix, range);
  if (slice.group_size == 0) {
    return absl::UnimplementedError(Concat("tensor '", matrix.words.name,
                                           "': a tensor-parallel rank's share begins at column ",
                                           range.first_col, ", which cuts groups of ",
                                           matrix.group_size, "; expected a multiple of 32"));
  }
  PINGTI_ASSIGN_OR_RETURN(slice.words, SliceWords(matrix, range, memory));
  const int64_t groups = slice.groups();
  const auto group_of = [&](int64_t g) {
    return (range.first_col + g * slice.group_size) / matrix.group_size;
  };
  const bool row_major = matrix.layout == PackedLayout::kRowMajor;
  slice.scales =
      row_major ? CopyColumns(matrix.scales, range.first_row, range.rows, groups, group_of, memory)
                : CopyLines(matrix.scales, groups, group_of, range.first_row, range.rows, memory);
  if (!matrix.has_zeros()) return slice;
  PINGTI_ASSIGN_OR_RETURN(const Units rows, UnitsOf(matrix, "rows", range.first_row, range.rows,
                                                    matrix.rows, matrix.values_per_word()));
  slice.zeros = row_major
                    ? CopyColumns(matrix.zeros, rows.first, rows.count, groups, group_of, memory)
                    : CopyLines(matrix.zeros, groups, group_of, rows.first, rows.count, memory);
  return slice;
}

TensorView SliceValues(const PackedWeights& matrix, const MatrixRange& range, SliceMemory* memory) {
  TensorView slice{matrix.words.name, DType::kF32, {range.rows, range.cols}, nullptr, 0};
  slice.bytes = range.rows * slice.RowBytes();
  std::byte* out = memory->Allocate(slice.bytes);
  slice.data = out;
  std::vector<float> values(static_cast<size_t>(matrix.cols));
  PackedTile tile;
  for (int64_t done = 0; done < range.rows; done += kPackedTileRows) {
    const int64_t rows = std::min(kPackedTileRows, range.rows - done);
    ReadPackedTile(matrix, range.first_row + done, rows, &tile);
    for (int64_t row = 0; row < rows; ++row, out += slice.RowBytes()) {
      DequantizeTileRow(matrix, tile, row, values.data());
      std::memcpy(out, values.data() + range.first_col, static_cast<size_t>(slice.RowBytes()));
    }
  }
  return slice;
}

}  // namespace pingti::worker
