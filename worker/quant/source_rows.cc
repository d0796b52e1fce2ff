#include "worker/quant/source_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/quant/ggml_blocks.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

absl::Status CheckPackedSource(const MatrixSource& source, const std::string& what) {
  const PackedWeights& packed = *source.packed;
  if (std::vector<int64_t>{packed.rows, packed.cols} != source.tensor.shape ||
      !source.row_scale.empty() || source.interleaved_heads != 0) {
    return absl::InvalidArgumentError(Concat(what, ": packed as [", packed.rows, ", ", packed.cols,
                                             "]; expected that shape, no row scales and rows in "
                                             "order"));
  }
  return CheckPacked(packed);
}

absl::Status CheckBlockScales(const MatrixSource& source, const std::string& what) {
  const TensorView& tensor = source.tensor;
  const bool needed = tensor.dtype == DType::kF8E4M3 && tensor.data != nullptr;
  if (needed != source.block_scales.has_value()) {
    return absl::InvalidArgumentError(
        Concat(what, needed ? ": expected scales of its blocks" : ": has scales of blocks"));
  }
  if (!needed) return absl::OkStatus();
  const BlockScales& blocks = *source.block_scales;
  const TensorView& scales = blocks.scales;
  const auto covers = [](int64_t end, int64_t count, int64_t size) {
    return size > 0 && end <= count * size;
  };
  if (!CanDequantize(scales.dtype) || IsBlockType(scales.dtype) || scales.shape.size() != 2 ||
      !covers(blocks.first_row + tensor.shape[0], scales.shape[0], blocks.block_rows) ||
      !covers(blocks.first_col + tensor.shape[1], scales.shape[1], blocks.block_cols)) {
    return absl::InvalidArgumentError(
        Concat(what, ": scales ", DTypeName(scales.dtype), " ", scales.ShapeString(),
               " of blocks of ", blocks.block_rows, " x ", blocks.block_cols, " do not cover it"));
  }
  return absl::OkStatus();
}

// Writes q and returns the scale.
float QuantizeRow(const float* values, int64_t cols, int8_t* q) {
  float largest = 0.0f;
  for (int64_t k = 0; k < cols; ++k) largest = std::max(largest, std::fabs(values[k]));
  const float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
  for (int64_t k = 0; k < cols; ++k) {
    q[k] = static_cast<int8_t>(std::clamp(std::nearbyint(values[k] * inverse), -127.0f, 127.0f));
  }
  return largest / 127.0f;
}

}  // namespace

absl::Status CheckMatrixSource(const MatrixSource& source) {
  const TensorView& tensor = source.tensor;
  const std::string what =
      Concat("tensor '", tensor.name, "' ", DTypeName(tensor.dtype), " ", tensor.ShapeString());
  if (tensor.shape.size() != 2 || tensor.shape[0] < 1 || tensor.shape[1] < 1) {
    return absl::InvalidArgumentError(Concat(what, ": expected a matrix"));
  }
  if (source.packed.has_value()) return CheckPackedSource(source, what);
  if (!CanDequantize(tensor.dtype)) {
    return absl::UnimplementedError(Concat(what, ": not a type of weights"));
  }
  if (tensor.shape[1] % BlockElements(tensor.dtype) != 0) {
    return absl::InvalidArgumentError(
        Concat(what, ": expected rows of a multiple of ", BlockElements(tensor.dtype)));
  }
  PINGTI_RETURN_IF_ERROR(CheckBlockScales(source, what));
  const bool needs_scale = tensor.dtype == DType::kI8 && tensor.data != nullptr;
  const size_t scales = needs_scale ? static_cast<size_t>(tensor.shape[0]) : 0;
  if (source.row_scale.size() != scales) {
    return absl::InvalidArgumentError(
        Concat(what, ": ", source.row_scale.size(), " row scales; expected ", scales));
  }
  if (source.interleaved_heads > 0 && tensor.shape[0] % (2 * source.interleaved_heads) != 0) {
    return absl::InvalidArgumentError(
        Concat(what, ": rows are not ", source.interleaved_heads, " heads of even size"));
  }
  return absl::OkStatus();
}

int64_t SourceRow(const MatrixSource& source, int64_t row) {
  if (source.interleaved_heads == 0) return row;
  const int64_t head_dim = source.tensor.shape[0] / source.interleaved_heads;
  const int64_t head = row / head_dim;
  const int64_t i = row % head_dim;
  const int64_t half = head_dim / 2;
  return head * head_dim + (i < half ? 2 * i : 2 * (i - half) + 1);
}

const uint8_t* SourceRows::Raw(int64_t row) const {
  const TensorView& tensor = source_.tensor;
  return static_cast<const uint8_t*>(tensor.data) + SourceRow(source_, row) * tensor.RowBytes();
}

const PackedTile& SourceRows::Tile(int64_t row) {
  const int64_t first = row / kPackedTileRows * kPackedTileRows;
  if (tile_.rows == 0 || tile_.first_row != first) {
    ReadPackedTile(*source_.packed, first, std::min(kPackedTileRows, source_.packed->rows - first),
                   &tile_);
  }
  return tile_;
}

void SourceRows::ScaleBlocks(int64_t row, int64_t cols, float* out) {
  const BlockScales& blocks = *source_.block_scales;
  const int64_t count = blocks.scales.shape[1];
  scales_.resize(static_cast<size_t>(count));
  const int64_t line = (blocks.first_row + row) / blocks.block_rows;
  Dequantize(blocks.scales.dtype,
             static_cast<const uint8_t*>(blocks.scales.data) + line * blocks.scales.RowBytes(),
             count, scales_.data());
  for (int64_t k = 0; k < cols; ++k) {
    out[k] *= scales_[static_cast<size_t>((blocks.first_col + k) / blocks.block_cols)];
  }
}

void SourceRows::ReadRow(int64_t row, float* out) {
  if (source_.packed.has_value()) {
    const PackedTile& tile = Tile(row);
    return DequantizeTileRow(*source_.packed, tile, row - tile.first_row, out);
  }
  const int64_t cols = source_.tensor.shape[1];
  Dequantize(source_.tensor.dtype, Raw(row), cols, out);
  if (source_.block_scales.has_value()) return ScaleBlocks(SourceRow(source_, row), cols, out);
  if (source_.row_scale.empty()) return;
  const float scale = source_.row_scale[static_cast<size_t>(SourceRow(source_, row))];
  for (int64_t k = 0; k < cols; ++k) out[k] *= scale;
}

void SourceRows::ReadF32(int64_t first, int64_t last, float* out) {
  const int64_t cols = source_.tensor.shape[1];
  for (int64_t row = first; row < last; ++row, out += cols) ReadRow(row, out);
}

void SourceRows::ReadBf16(int64_t first, int64_t last, uint16_t* out) {
  const int64_t cols = source_.tensor.shape[1];
  const bool is_bf16 = !source_.packed.has_value() && source_.tensor.dtype == DType::kBf16;
  values_.resize(static_cast<size_t>(cols));
  for (int64_t row = first; row < last; ++row, out += cols) {
    if (is_bf16) {
      std::memcpy(out, Raw(row), static_cast<size_t>(cols) * 2);
    } else {
      ReadRow(row, values_.data());
      std::transform(values_.begin(), values_.end(), out, FloatToBf16);
    }
  }
}

void SourceRows::ReadInt8(int64_t first, int64_t last, int8_t* out, float* scales) {
  const int64_t cols = source_.tensor.shape[1];
  const bool is_int8 = !source_.packed.has_value() && source_.tensor.dtype == DType::kI8;
  values_.resize(static_cast<size_t>(cols));
  for (int64_t row = first; row < last; ++row, out += cols, ++scales) {
    if (is_int8) {
      std::memcpy(out, Raw(row), static_cast<size_t>(cols));
      *scales = source_.row_scale[static_cast<size_t>(SourceRow(source_, row))];
    } else {
      ReadRow(row, values_.data());
      *scales = QuantizeRow(values_.data(), cols, out);
    }
  }
}

}  // namespace pingti::worker
