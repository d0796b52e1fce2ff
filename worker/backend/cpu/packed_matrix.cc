#include "worker/backend/cpu/packed_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/backend/cpu/word_panels.h"
#include "worker/quant/ggml_blocks.h"
#include "worker/quant/ggml_repack.h"

namespace pingti::worker::cpu {
namespace {

constexpr int64_t kMaxInt8Depth = 65536;  // 255 * 127 * depth stays below 2^31

PanelFormat ChooseFormat(const MatrixSource& source, WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return PanelFormat::kF32;
    case WeightFormat::kBf16:
      return PanelFormat::kBf16;
    case WeightFormat::kInt8:
      return PanelFormat::kI8;
    case WeightFormat::kInt8Weights:
    case WeightFormat::kStored:
      break;
  }
  if (source.packed.has_value()) return WordPanelFormat(*source.packed);
  const DType dtype = source.tensor.dtype;
  switch (TypeOf32(dtype).value_or(dtype)) {
    case DType::kQ8_0:
      return PanelFormat::kQ8;
    case DType::kQ4_0:
      return PanelFormat::kQ4;
    case DType::kQ4_1:
      return PanelFormat::kQ4Min;
    case DType::kF32:
    case DType::kF16:
    case DType::kBf16:
      return PanelFormat::kBf16;
    default:  // kI8: CheckSource refused what is not a type of weights
      return PanelFormat::kI8;
  }
}

int64_t PanelBytes(PanelFormat format, int64_t padded_depth) {
  const int64_t groups = padded_depth / kGroup;
  switch (format) {
    case PanelFormat::kF32:
      return padded_depth * kPanelCols * 4;
    case PanelFormat::kBf16:
      return padded_depth * kPanelCols * 2;
    case PanelFormat::kI8:
      return padded_depth * kPanelCols;
    case PanelFormat::kQ8:
      return groups * (32 + 512);
    case PanelFormat::kQ4:
      return groups * (32 + 256);
    case PanelFormat::kQ4Min:
      return groups * (64 + 256);
  }
  return 0;
}

// One output column into its place of a panel whose bytes start as zero.
void PackF32(const float* row, int64_t depth, int64_t column, uint8_t* panel) {
  auto* out = reinterpret_cast<float*>(panel);
  for (int64_t k = 0; k < depth; ++k) out[k * kPanelCols + column] = row[k];
}

void PackBf16(const uint16_t* row, int64_t depth, int64_t column, uint8_t* panel) {
  auto* out = reinterpret_cast<uint16_t*>(panel);
  for (int64_t k = 0; k < depth; ++k) out[(k / 2 * kPanelCols + column) * 2 + k % 2] = row[k];
}

// q as unsigned bytes, offset by 128.
void PackBytes(const int8_t* q, int64_t depth, int64_t column, uint8_t* out) {
  for (int64_t k = 0; k < depth; ++k) {
    out[(k / 4 * kPanelCols + column) * 4 + k % 4] = static_cast<uint8_t>(q[k] + 128);
  }
}

// One block of Q8_0 (f16 scale, 32 x int8).
void PackQ8Block(const uint8_t* block, int64_t column, uint8_t* group) {
  std::memcpy(group + column * 2, block, 2);
  PackBytes(reinterpret_cast<const int8_t*>(block + 2), kGroup, column, group + 32);
}

// One block of Q4_0 or Q4_1: byte i holds value i low and value i + 16 high.
void PackQ4Block(const uint8_t* block, bool has_min, int64_t column, uint8_t* group) {
  std::memcpy(group + column * 2, block, 2);
  if (has_min) std::memcpy(group + 32 + column * 2, block + 2, 2);
  const uint8_t* nibbles = block + (has_min ? 4 : 2);
  uint8_t* out = group + (has_min ? 64 : 32);
  const auto value = [nibbles](int64_t k) {
    return k < 16 ? (nibbles[k] & 15) : (nibbles[k - 16] >> 4);
  };
  for (int64_t k = 0; k < kGroup; k += 8) {
    for (int64_t j = 0; j < 4; ++j) {
      out[(k / 8 * kPanelCols + column) * 4 + j] =
          static_cast<uint8_t>(value(k + j) | (value(k + 4 + j) << 4));
    }
  }
}

// Per output channel, symmetric: writes q and returns the scale.
float QuantizeChannel(const float* values, int64_t depth, int8_t* q) {
  float largest = 0.0f;
  for (int64_t k = 0; k < depth; ++k) largest = std::max(largest, std::fabs(values[k]));
  const float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
  for (int64_t k = 0; k < depth; ++k) {
    q[k] = static_cast<int8_t>(std::clamp(std::nearbyint(values[k] * inverse), -127.0f, 127.0f));
  }
  return largest / 127.0f;
}

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

absl::Status CheckSource(const MatrixSource& source) {
  const TensorView& tensor = source.tensor;
  const std::string what =
      Concat("tensor '", tensor.name, "' ", DTypeName(tensor.dtype), " ", tensor.ShapeString());
  if (tensor.shape.size() != 2 || tensor.shape[0] < 1 || tensor.shape[1] < 1) {
    return absl::InvalidArgumentError(Concat(what, ": expected a matrix"));
  }
  if (tensor.data == nullptr) {
    return absl::UnimplementedError(Concat(what, ": random weights are drawn on a GPU only"));
  }
  if (source.packed.has_value()) return CheckPackedSource(source, what);
  if (!CanDequantize(tensor.dtype)) {
    return absl::UnimplementedError(Concat(what, ": not a type of weights"));
  }
  if (tensor.shape[1] % BlockElements(tensor.dtype) != 0) {
    return absl::InvalidArgumentError(
        Concat(what, ": expected rows of a multiple of ", BlockElements(tensor.dtype)));
  }
  const bool needs_scale = tensor.dtype == DType::kI8;
  if (source.row_scale.size() != (needs_scale ? static_cast<size_t>(tensor.shape[0]) : 0)) {
    return absl::InvalidArgumentError(Concat(what, ": ", source.row_scale.size(),
                                             " row scales; expected ",
                                             needs_scale ? tensor.shape[0] : 0));
  }
  if (source.interleaved_heads > 0 && tensor.shape[0] % (2 * source.interleaved_heads) != 0) {
    return absl::InvalidArgumentError(
        Concat(what, ": rows are not ", source.interleaved_heads, " heads of even size"));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t SourceRow(const MatrixSource& source, int64_t column) {
  if (source.interleaved_heads == 0) return column;
  const int64_t head_dim = source.tensor.shape[0] / source.interleaved_heads;
  const int64_t head = column / head_dim;
  const int64_t i = column % head_dim;
  const int64_t half = head_dim / 2;
  return head * head_dim + (i < half ? 2 * i : 2 * (i - half) + 1);
}

void ReadRow(const MatrixSource& source, int64_t row, float* out) {
  const TensorView& tensor = source.tensor;
  Dequantize(tensor.dtype, static_cast<const uint8_t*>(tensor.data) + row * tensor.RowBytes(),
             tensor.shape[1], out);
  if (source.row_scale.empty()) return;
  const float scale = source.row_scale[static_cast<size_t>(row)];
  for (int64_t k = 0; k < tensor.shape[1]; ++k) out[k] *= scale;
}

// Scratch of one packing thread.
struct RowScratch {
  std::vector<float> values;
  std::vector<uint16_t> halves;
  std::vector<int8_t> bytes;
  PackedTile tile;
};

namespace {

struct PanelTarget {
  PanelFormat format;
  uint8_t* panel;
  float* column_scale;
};

void PackBlocks(const MatrixSource& source, int64_t row, int64_t column,
                const PanelTarget& target) {
  const TensorView& tensor = source.tensor;
  const auto* blocks = static_cast<const uint8_t*>(tensor.data) + row * tensor.RowBytes();
  const int64_t group_bytes = PanelBytes(target.format, kGroup);
  const auto pack = [&](const uint8_t* block, int64_t g) {
    uint8_t* group = target.panel + g * group_bytes;
    if (target.format == PanelFormat::kQ8) {
      PackQ8Block(block, column, group);
    } else {
      PackQ4Block(block, target.format == PanelFormat::kQ4Min, column, group);
    }
  };
  const int64_t block_bytes = BlockBytes(tensor.dtype);
  const int64_t num_blocks = tensor.shape[1] / BlockElements(tensor.dtype);
  const std::optional<DType> type_of_32 = TypeOf32(tensor.dtype);
  if (!type_of_32.has_value()) {
    for (int64_t g = 0; g < num_blocks; ++g) pack(blocks + g * block_bytes, g);
    return;
  }
  constexpr int64_t kGroupsPerBlock = 8;
  uint8_t repacked[kGroupsPerBlock * 34];
  for (int64_t b = 0; b < num_blocks; ++b) {
    RepackKBlock(tensor.dtype, blocks + b * block_bytes, repacked);
    for (int64_t g = 0; g < kGroupsPerBlock; ++g) {
      pack(repacked + g * BlockBytes(*type_of_32), b * kGroupsPerBlock + g);
    }
  }
}

// A row of floats, in scratch->values, into a format without groups.
void PackValues(int64_t depth, int64_t column, const CpuKernels& kernels, RowScratch* scratch,
                const PanelTarget& target) {
  const float* values = scratch->values.data();
  if (target.format == PanelFormat::kF32) return PackF32(values, depth, column, target.panel);
  if (target.format == PanelFormat::kBf16) {
    kernels.float_to_bf16(values, depth, scratch->halves.data());
    return PackBf16(scratch->halves.data(), depth, column, target.panel);
  }
  target.column_scale[column] = QuantizeChannel(values, depth, scratch->bytes.data());
  PackBytes(scratch->bytes.data(), depth, column, target.panel);
}

bool HasGroups(PanelFormat format) {
  return format == PanelFormat::kQ8 || format == PanelFormat::kQ4 || format == PanelFormat::kQ4Min;
}

void PackColumn(const MatrixSource& source, int64_t row, int64_t column, const CpuKernels& kernels,
                RowScratch* scratch, const PanelTarget& target) {
  if (HasGroups(target.format)) return PackBlocks(source, row, column, target);
  const int64_t depth = source.tensor.shape[1];
  if (target.format == PanelFormat::kI8 && source.tensor.dtype == DType::kI8) {
    // What is int8 already keeps its numbers and scale.
    target.column_scale[column] = source.row_scale[static_cast<size_t>(row)];
    return PackBytes(static_cast<const int8_t*>(source.tensor.data) + row * depth, depth, column,
                     target.panel);
  }
  ReadRow(source, row, scratch->values.data());
  PackValues(depth, column, kernels, scratch, target);
}

// Row `row` of scratch->tile.
void PackTileColumn(const PackedWeights& weights, int64_t row, int64_t column,
                    const CpuKernels& kernels, RowScratch* scratch, const PanelTarget& target) {
  if (HasGroups(target.format)) {
    return PackWordColumn(weights, scratch->tile, row, column, target.format, target.panel);
  }
  DequantizeTileRow(weights, scratch->tile, row, scratch->values.data());
  PackValues(weights.cols, column, kernels, scratch, target);
}

}  // namespace

void PackedMatrix::PackPanel(const MatrixSource& source, int64_t p, const CpuKernels& kernels,
                             RowScratch* scratch) {
  PanelTarget target{format_, data_.as<uint8_t>() + p * panel_bytes_, nullptr};
  std::memset(target.panel, 0, static_cast<size_t>(panel_bytes_));
  if (format_ == PanelFormat::kI8) {
    target.column_scale = scales_.as<float>() + p * kPanelCols;
    std::memset(target.column_scale, 0, kPanelCols * 4);
  }
  const int64_t cols = std::min(kPanelCols, rows_ - p * kPanelCols);
  for (int64_t c = 0; c < cols; ++c) {
    const int64_t row = p * kPanelCols + c;
    if (source.packed.has_value()) {
      PackTileColumn(*source.packed, row - scratch->tile.first_row, c, kernels, scratch, target);
    } else {
      PackColumn(source, SourceRow(source, row), c, kernels, scratch, target);
    }
  }
}

absl::StatusOr<PackedMatrix> PackedMatrix::Pack(const MatrixSource& source, WeightFormat format,
                                                const CpuKernels& kernels, ThreadPool* pool) {
  PINGTI_RETURN_IF_ERROR(CheckSource(source));
  PackedMatrix packed;
  packed.rows_ = source.tensor.shape[0];
  packed.depth_ = source.tensor.shape[1];
  packed.padded_depth_ = (packed.depth_ + kGroup - 1) / kGroup * kGroup;
  packed.format_ = ChooseFormat(source, format);
  if (packed.format_ == PanelFormat::kI8 && packed.depth_ > kMaxInt8Depth) {
    packed.format_ = PanelFormat::kBf16;
  }
  packed.panel_bytes_ = PanelBytes(packed.format_, packed.padded_depth_);
  const int64_t panels = packed.num_panels();
  PINGTI_ASSIGN_OR_RETURN(packed.data_, AlignedBuffer::Make(panels * packed.panel_bytes_));
  if (packed.format_ == PanelFormat::kI8) {
    PINGTI_ASSIGN_OR_RETURN(packed.scales_, AlignedBuffer::Make(panels * kPanelCols * 4));
  }
  std::vector<RowScratch> scratch(static_cast<size_t>(pool->num_threads()));
  for (RowScratch& s : scratch) {
    s.values.resize(static_cast<size_t>(packed.depth_));
    s.halves.resize(static_cast<size_t>(packed.depth_));
    s.bytes.resize(static_cast<size_t>(packed.depth_));
  }
  const int64_t per_task = source.packed.has_value() ? kPackedTileRows / kPanelCols : 1;
  pool->Run((panels + per_task - 1) / per_task, [&](int64_t task, int thread) {
    RowScratch* mine = &scratch[static_cast<size_t>(thread)];
    const int64_t first = task * per_task;
    if (source.packed.has_value()) {
      const int64_t row = first * kPanelCols;
      ReadPackedTile(*source.packed, row, std::min(kPackedTileRows, packed.rows_ - row),
                     &mine->tile);
    }
    for (int64_t p = first; p < std::min(panels, first + per_task); ++p) {
      packed.PackPanel(source, p, kernels, mine);
    }
  });
  return packed;
}

}  // namespace pingti::worker::cpu
