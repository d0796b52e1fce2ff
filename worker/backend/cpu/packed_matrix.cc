#include "worker/backend/cpu/packed_matrix.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/backend/cpu/word_panels.h"
#include "worker/quant/ggml_repack.h"
#include "worker/quant/source_rows.h"

namespace pingti::worker::cpu {
namespace {

constexpr int64_t kMaxInt8Depth = 65536;  // 255 * 127 * depth stays below 2^31

constexpr OperandType kInt8PerGroup{QuantType::kInt8, kGroup};
constexpr MatrixFormat kF32Matrix{ElementType::kF32};
constexpr MatrixFormat kBf16Matrix{ElementType::kBf16};
constexpr MatrixFormat kInt8Matrix{ElementType::kInt8, {QuantType::kInt8, 0}};

// Groups with f16 scales.
constexpr MatrixFormat Grouped(ElementType element, bool has_zeros = false) {
  return {element, kInt8PerGroup, kGroup, DType::kF16, has_zeros};
}

MatrixFormat StoredFormat(const MatrixSource& source) {
  if (source.packed.has_value()) return WordFormat(*source.packed);
  const DType dtype = source.tensor.dtype;
  switch (TypeOf32(dtype).value_or(dtype)) {
    case DType::kQ8_0:
      return Grouped(ElementType::kInt8);
    case DType::kQ4_0:
      return Grouped(ElementType::kInt4);
    case DType::kQ4_1:
      return Grouped(ElementType::kInt4, /*has_zeros=*/true);
    case DType::kIq4Nl:
      return Grouped(ElementType::kTable4);
    case DType::kF32:
    case DType::kF16:
    case DType::kBf16:
    case DType::kF8E4M3:
      return kBf16Matrix;
    default:  // kI8: CheckSource refused what is not a type of weights
      return kInt8Matrix;
  }
}

MatrixFormat ChooseFormat(const MatrixSource& source, WeightFormat format) {
  MatrixFormat chosen = StoredFormat(source);
  if (format == WeightFormat::kF32) chosen = kF32Matrix;
  if (format == WeightFormat::kBf16) chosen = kBf16Matrix;
  if (format == WeightFormat::kInt8) chosen = kInt8Matrix;
  return chosen == kInt8Matrix && source.tensor.shape[1] > kMaxInt8Depth ? kBf16Matrix : chosen;
}

// The layout that the kernels have for a format.
PanelFormat PanelFormatOf(const MatrixFormat& format) {
  switch (format.element) {
    case ElementType::kF32:
      return PanelFormat::kF32;
    case ElementType::kBf16:
      return PanelFormat::kBf16;
    case ElementType::kInt8:
      return format.group_size == 0 ? PanelFormat::kI8 : PanelFormat::kQ8;
    case ElementType::kInt4:
      return format.has_zeros ? PanelFormat::kQ4Min : PanelFormat::kQ4;
    case ElementType::kTable4:
      return PanelFormat::kQ4Table;
    case ElementType::kFp4:
      break;  // ChooseFormat has none
  }
  CheckFailed(__FILE__, __LINE__, "known ElementType", "");
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
    case PanelFormat::kQ4Table:
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

// One block of Q4_0, IQ4_NL or Q4_1: byte i holds value i low and value i + 16 high.
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

absl::Status CheckSource(const MatrixSource& source) {
  PINGTI_RETURN_IF_ERROR(CheckMatrixSource(source));
  if (source.tensor.data != nullptr) return absl::OkStatus();
  return absl::UnimplementedError(
      Concat("tensor '", source.tensor.name, "' ", DTypeName(source.tensor.dtype), " ",
             source.tensor.ShapeString(), ": random weights are drawn on a GPU only"));
}

}  // namespace

// What a packing thread needs.
struct RowScratch {
  explicit RowScratch(const MatrixSource& source)
      : rows(source), values(static_cast<size_t>(source.tensor.shape[1])) {
    halves.resize(values.size());
    bytes.resize(values.size());
  }

  SourceRows rows;
  std::vector<float> values;  // one row, in one of three types
  std::vector<uint16_t> halves;
  std::vector<int8_t> bytes;
};

namespace {

struct PanelTarget {
  PanelFormat format;
  uint8_t* panel;
  float* column_scale;
};

void PackBlocks(const TensorView& tensor, const uint8_t* blocks, int64_t column,
                const PanelTarget& target) {
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
  constexpr int64_t kMaxGroups = 8;  // of a block
  const int64_t groups = BlockElements(tensor.dtype) / kGroup;
  uint8_t repacked[kMaxGroups * 34];
  for (int64_t b = 0; b < num_blocks; ++b) {
    RepackBlock(tensor.dtype, blocks + b * block_bytes, repacked);
    for (int64_t g = 0; g < groups; ++g) {
      pack(repacked + g * BlockBytes(*type_of_32), b * groups + g);
    }
  }
}

bool HasGroups(PanelFormat format) {
  return format == PanelFormat::kQ8 || format == PanelFormat::kQ4 ||
         format == PanelFormat::kQ4Min || format == PanelFormat::kQ4Table;
}

// Row `row` of the source into one column of a panel.
void PackColumn(const MatrixSource& source, int64_t row, int64_t column, RowScratch* scratch,
                const PanelTarget& target) {
  const int64_t depth = source.tensor.shape[1];
  SourceRows& rows = scratch->rows;
  if (HasGroups(target.format)) {
    if (!source.packed.has_value()) {
      return PackBlocks(source.tensor, rows.Raw(row), column, target);
    }
    const PackedTile& tile = rows.Tile(row);
    return PackWordColumn(*source.packed, tile, row - tile.first_row, column, target.format,
                          target.panel);
  }
  if (target.format == PanelFormat::kF32) {
    rows.ReadF32(row, row + 1, scratch->values.data());
    PackF32(scratch->values.data(), depth, column, target.panel);
  } else if (target.format == PanelFormat::kBf16) {
    rows.ReadBf16(row, row + 1, scratch->halves.data());
    PackBf16(scratch->halves.data(), depth, column, target.panel);
  } else {
    rows.ReadInt8(row, row + 1, scratch->bytes.data(), &target.column_scale[column]);
    PackBytes(scratch->bytes.data(), depth, column, target.panel);
  }
}

}  // namespace

void PackedMatrix::PackPanel(const MatrixSource& source, int64_t p, RowScratch* scratch) {
  PanelTarget target{panel_format_, data_.as<uint8_t>() + p * panel_bytes_, nullptr};
  std::memset(target.panel, 0, static_cast<size_t>(panel_bytes_));
  if (panel_format_ == PanelFormat::kI8) {
    target.column_scale = scales_.as<float>() + p * kPanelCols;
    std::memset(target.column_scale, 0, kPanelCols * 4);
  }
  const int64_t cols = std::min(kPanelCols, rows_ - p * kPanelCols);
  for (int64_t c = 0; c < cols; ++c) {
    PackColumn(source, p * kPanelCols + c, c, scratch, target);
  }
}

absl::StatusOr<PackedMatrix> PackedMatrix::Pack(const MatrixSource& source, WeightFormat format,
                                                ThreadPool* pool) {
  PINGTI_RETURN_IF_ERROR(CheckSource(source));
  PackedMatrix packed;
  packed.rows_ = source.tensor.shape[0];
  packed.depth_ = source.tensor.shape[1];
  packed.padded_depth_ = (packed.depth_ + kGroup - 1) / kGroup * kGroup;
  packed.format_ = ChooseFormat(source, format);
  packed.panel_format_ = PanelFormatOf(packed.format_);
  packed.panel_bytes_ = PanelBytes(packed.panel_format_, packed.padded_depth_);
  const int64_t panels = packed.num_panels();
  PINGTI_ASSIGN_OR_RETURN(packed.data_, AlignedBuffer::Make(panels * packed.panel_bytes_));
  if (packed.panel_format_ == PanelFormat::kI8) {
    PINGTI_ASSIGN_OR_RETURN(packed.scales_, AlignedBuffer::Make(panels * kPanelCols * 4));
  }
  std::vector<RowScratch> scratch(static_cast<size_t>(pool->num_threads()), RowScratch(source));
  // A tile of packed words is read once.
  const int64_t per_task = source.packed.has_value() ? kPackedTileRows / kPanelCols : 1;
  pool->Run((panels + per_task - 1) / per_task, [&](int64_t task, int thread) {
    const int64_t first = task * per_task;
    for (int64_t p = first; p < std::min(panels, first + per_task); ++p) {
      packed.PackPanel(source, p, &scratch[static_cast<size_t>(thread)]);
    }
  });
  return packed;
}

}  // namespace pingti::worker::cpu
