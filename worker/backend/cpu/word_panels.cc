#include "worker/backend/cpu/word_panels.h"

#include <algorithm>
#include <cstring>

#include "worker/tensor/float16.h"

namespace pingti::worker::cpu {
namespace {

// Group of 32 values, one per byte, into their place after the scales.
void PackBytes(const uint8_t* q, int64_t column, uint8_t* out) {
  for (int64_t k = 0; k < kGroup; k += 4) {
    std::memcpy(out + (k / 4 * kPanelCols + column) * 4, q + k, 4);
  }
}

void PackNibbles(const uint8_t* q, int64_t column, uint8_t* out) {
  for (int64_t k = 0; k < kGroup; k += 8) {
    for (int64_t j = 0; j < 4; ++j) {
      out[(k / 8 * kPanelCols + column) * 4 + j] =
          static_cast<uint8_t>(q[k + j] | (q[k + 4 + j] << 4));
    }
  }
}

}  // namespace

MatrixFormat WordFormat(const PackedWeights& weights) {
  if (!ScalesFitF16(weights) || (weights.bits == 8 && weights.has_zeros()) ||
      weights.has_group_index()) {
    return {};
  }
  return {weights.bits == 4 ? ElementType::kInt4 : ElementType::kInt8,
          {QuantType::kInt8, kGroup},
          kGroup,
          DType::kF16,
          weights.has_zeros()};
}

void PackWordColumn(const PackedWeights& weights, const PackedTile& tile, int64_t row,
                    int64_t column, PanelFormat format, uint8_t* panel) {
  const bool has_min = format == PanelFormat::kQ4Min;
  const bool bytes = format == PanelFormat::kQ8;
  const int64_t header = kPanelCols * (has_min ? 4 : 2);
  const int64_t group_bytes = header + kPanelCols * kGroup / (bytes ? 1 : 2);
  const uint8_t* q = tile.q.data() + row * weights.cols;
  for (int64_t first = 0; first < weights.cols; first += kGroup, panel += group_bytes) {
    const auto at = static_cast<size_t>(row * weights.groups() + first / weights.group_size);
    const uint16_t scale = FloatToF16(tile.scales[at]);
    std::memcpy(panel + column * 2, &scale, sizeof(scale));
    if (has_min) {
      const uint16_t min = FloatToF16(-F16ToFloat(scale) * static_cast<float>(tile.zeros[at]));
      std::memcpy(panel + (kPanelCols + column) * 2, &min, sizeof(min));
    }
    uint8_t values[kGroup] = {};  // activations of the padding are zero
    std::memcpy(values, q + first, static_cast<size_t>(std::min(kGroup, weights.cols - first)));
    if (bytes) {
      PackBytes(values, column, panel + header);
    } else {
      PackNibbles(values, column, panel + header);
    }
  }
}

}  // namespace pingti::worker::cpu
