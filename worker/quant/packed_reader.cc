#include "worker/quant/packed_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/tensor/float16.h"

namespace pingti::worker {
namespace {

// Row that AWQ keeps at each position of a word.
constexpr std::array<int, 8> kAwqOrder = {0, 2, 4, 6, 1, 3, 5, 7};

uint32_t LoadWord(const TensorView& tensor, int64_t index) {
  uint32_t word;
  std::memcpy(&word, static_cast<const uint8_t*>(tensor.data) + 4 * index, sizeof(word));
  return word;
}

float LoadScale(const PackedWeights& weights, int64_t index) {
  uint16_t half;
  std::memcpy(&half, static_cast<const uint8_t*>(weights.scales.data) + 2 * index, sizeof(half));
  return weights.scales.dtype == DType::kBf16 ? Bf16ToFloat(half) : F16ToFloat(half);
}

// The eight values of a 4-bit word, element i in byte i.
uint64_t SpreadNibbles(uint32_t word) {
  uint64_t bytes = word;
  bytes = (bytes | (bytes << 16)) & 0x0000ffff0000ffffu;
  bytes = (bytes | (bytes << 8)) & 0x00ff00ff00ff00ffu;
  return (bytes | (bytes << 4)) & 0x0f0f0f0f0f0f0f0fu;
}

// The first `count` values of a word, one per byte.
void WriteValues(uint32_t word, int bits, int64_t count, uint8_t* out) {
  if (bits == 4) {
    const uint64_t bytes = SpreadNibbles(word);
    std::memcpy(out, &bytes, static_cast<size_t>(count));
  } else {
    std::memcpy(out, &word, static_cast<size_t>(count));
  }
}

void ReadGptqValues(const PackedWeights& w, const PackedTile& tile, uint8_t* q) {
  const int64_t per_word = w.values_per_word();
  for (int64_t r = 0; r < w.cols / per_word; ++r) {
    for (int64_t i = 0; i < tile.rows; ++i) {
      WriteValues(LoadWord(w.words, r * w.rows + tile.first_row + i), w.bits, per_word,
                  q + i * w.cols + r * per_word);
    }
  }
}

// Words [first_row / 8, ..) of a line of words packed along the rows: calls put(row of the tile,
// value).
template <typename Put>
void ReadAlongRows(const PackedWeights& w, const TensorView& words, int64_t line, int64_t stride,
                   const PackedTile& tile, const Put& put) {
  const int64_t per_word = w.values_per_word();
  const uint32_t mask = (1u << w.bits) - 1;
  const int64_t end = tile.first_row + tile.rows;
  for (int64_t c = tile.first_row / per_word; c * per_word < end; ++c) {
    const uint32_t word = LoadWord(words, line + c * stride);
    for (int64_t i = 0; i < per_word; ++i) {
      const int64_t at = w.layout == PackedLayout::kAwq ? kAwqOrder[static_cast<size_t>(i)] : i;
      const int64_t row = c * per_word + at - tile.first_row;
      if (row < 0 || row >= tile.rows) continue;
      put(row, static_cast<uint8_t>((word >> (i * w.bits)) & mask));
    }
  }
}

// A block of columns at a time: rows of the tile lie a power of two apart as often as not, and
// writing them all column by column would fight for a few lines of the cache.
void ReadAwqValues(const PackedWeights& w, const PackedTile& tile, uint8_t* q) {
  constexpr int64_t kColumns = 64;
  std::vector<uint8_t> block(static_cast<size_t>(tile.rows * kColumns));
  for (int64_t first = 0; first < w.cols; first += kColumns) {
    const int64_t count = std::min(kColumns, w.cols - first);
    for (int64_t k = 0; k < count; ++k) {
      ReadAlongRows(w, w.words, (first + k) * (w.rows / 8), 1, tile,
                    [&](int64_t row, uint8_t value) {
                      block[static_cast<size_t>(row * kColumns + k)] = value;
                    });
    }
    for (int64_t row = 0; row < tile.rows; ++row) {
      std::memcpy(q + row * w.cols + first, block.data() + row * kColumns,
                  static_cast<size_t>(count));
    }
  }
}

void ReadRowMajorValues(const PackedWeights& w, const PackedTile& tile, uint8_t* q) {
  const int64_t per_word = w.values_per_word();
  const int64_t words = (w.cols + per_word - 1) / per_word;
  for (int64_t i = 0; i < tile.rows; ++i) {
    for (int64_t c = 0; c < words; ++c) {
      WriteValues(LoadWord(w.words, (tile.first_row + i) * words + c), w.bits,
                  std::min(per_word, w.cols - c * per_word), q + i * w.cols + c * per_word);
    }
  }
}

void ReadScalesAndZeros(const PackedWeights& w, PackedTile* tile) {
  const int64_t groups = w.groups();
  const bool row_major = w.layout == PackedLayout::kRowMajor;
  const int64_t line_words = w.rows / w.values_per_word();
  std::fill(tile->zeros.begin(), tile->zeros.end(), static_cast<uint8_t>(1 << (w.bits - 1)));
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t i = 0; i < tile->rows; ++i) {
      const int64_t row = tile->first_row + i;
      tile->scales[static_cast<size_t>(i * groups + g)] =
          LoadScale(w, row_major ? row * groups + g : g * w.rows + row);
    }
    if (!w.has_zeros()) continue;
    ReadAlongRows(w, w.zeros, row_major ? g : g * line_words, row_major ? groups : 1, *tile,
                  [&](int64_t row, uint8_t stored) {
                    tile->zeros[static_cast<size_t>(row * groups + g)] =
                        static_cast<uint8_t>((stored + w.zero_offset) & ((1 << w.bits) - 1));
                  });
  }
}

absl::Status CheckTensor(const TensorView& tensor, bool type_fits, std::string_view type,
                         const std::vector<int64_t>& shape) {
  const std::string what =
      Concat("tensor '", tensor.name, "' ", DTypeName(tensor.dtype), " ", tensor.ShapeString());
  TensorView expected;
  expected.shape = shape;
  if (!type_fits) {
    return absl::UnimplementedError(Concat(what, ": expected ", type, " ", expected.ShapeString()));
  }
  if (tensor.shape != shape) {
    return absl::InvalidArgumentError(Concat(what, ": expected shape ", expected.ShapeString()));
  }
  if (tensor.data == nullptr || tensor.bytes != tensor.NumElements() * BlockBytes(tensor.dtype)) {
    return absl::InvalidArgumentError(Concat(what, ": ", tensor.bytes, " bytes of data; expected ",
                                             tensor.NumElements() * BlockBytes(tensor.dtype)));
  }
  return absl::OkStatus();
}

absl::Status CheckForm(const PackedWeights& w) {
  const std::string what = Concat("tensor '", w.words.name, "': ");
  if ((w.bits != 4 && w.bits != 8) || (w.layout == PackedLayout::kAwq && w.bits != 4)) {
    return absl::UnimplementedError(Concat(what, w.bits, " bits; expected 4 or 8, of AWQ 4"));
  }
  if (w.rows < 1 || w.cols < 1) {
    return absl::InvalidArgumentError(Concat(what, "[", w.rows, ", ", w.cols, "] is no matrix"));
  }
  const bool whole_groups =
      w.group_size == 32 || w.group_size == 64 || (w.group_size > 0 && w.group_size % 128 == 0);
  if (!whole_groups && w.group_size != w.cols) {
    return absl::UnimplementedError(
        Concat(what, "group size ", w.group_size,
               "; expected 32, 64, a multiple of 128, or one group for all ", w.cols, " columns"));
  }
  const int64_t per_word = w.values_per_word();
  if (w.layout == PackedLayout::kGptq && w.cols % per_word != 0) {
    return absl::UnimplementedError(
        Concat(what, w.cols, " columns; expected a multiple of ", per_word));
  }
  if ((w.layout == PackedLayout::kAwq || w.has_zeros()) && w.rows % per_word != 0) {
    return absl::UnimplementedError(
        Concat(what, w.rows, " rows; expected a multiple of ", per_word));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckPacked(const PackedWeights& w) {
  PINGTI_RETURN_IF_ERROR(CheckForm(w));
  const int64_t per_word = w.values_per_word();
  const int64_t groups = w.groups();
  std::vector<int64_t> words{w.cols / per_word, w.rows};
  std::vector<int64_t> scales{groups, w.rows};
  std::vector<int64_t> zeros{groups, w.rows / per_word};
  if (w.layout == PackedLayout::kAwq) words = {w.cols, w.rows / per_word};
  if (w.layout == PackedLayout::kRowMajor) {
    words = {w.rows, (w.cols + per_word - 1) / per_word};
    std::swap(scales[0], scales[1]);
    std::swap(zeros[0], zeros[1]);
  }
  PINGTI_RETURN_IF_ERROR(CheckTensor(w.words, w.words.dtype == DType::kI32, "I32", words));
  PINGTI_RETURN_IF_ERROR(
      CheckTensor(w.scales, w.scales.dtype == DType::kF16 || w.scales.dtype == DType::kBf16,
                  "F16 or BF16", scales));
  if (!w.has_zeros()) return absl::OkStatus();
  return CheckTensor(w.zeros, w.zeros.dtype == DType::kI32, "I32", zeros);
}

void ReadPackedTile(const PackedWeights& weights, int64_t first, int64_t count, PackedTile* tile) {
  tile->first_row = first;
  tile->rows = count;
  tile->q.resize(static_cast<size_t>(count * weights.cols));
  tile->scales.resize(static_cast<size_t>(count * weights.groups()));
  tile->zeros.resize(tile->scales.size());
  uint8_t* q = tile->q.data();
  switch (weights.layout) {
    case PackedLayout::kGptq:
      ReadGptqValues(weights, *tile, q);
      break;
    case PackedLayout::kAwq:
      ReadAwqValues(weights, *tile, q);
      break;
    case PackedLayout::kRowMajor:
      ReadRowMajorValues(weights, *tile, q);
      break;
  }
  ReadScalesAndZeros(weights, tile);
}

void DequantizeTileRow(const PackedWeights& weights, const PackedTile& tile, int64_t row,
                       float* out) {
  const uint8_t* q = tile.q.data() + row * weights.cols;
  const int64_t groups = weights.groups();
  if (weights.has_group_index()) {
    for (int64_t k = 0; k < weights.cols; ++k) {
      const auto at = static_cast<size_t>(row * groups + LoadWord(weights.group_index, k));
      out[k] = tile.scales[at] * static_cast<float>(q[k] - tile.zeros[at]);
    }
    return;
  }
  for (int64_t g = 0; g < groups; ++g) {
    const auto at = static_cast<size_t>(row * groups + g);
    const float scale = tile.scales[at];
    const int zero = tile.zeros[at];
    const int64_t end = std::min(weights.cols, (g + 1) * weights.group_size);
    for (int64_t k = g * weights.group_size; k < end; ++k) {
      out[k] = scale * static_cast<float>(q[k] - zero);
    }
  }
}

bool ZerosAreMidpoints(const PackedWeights& weights) {
  const int bits = weights.bits;
  const auto stored =
      static_cast<uint32_t>((1 << (bits - 1)) - weights.zero_offset) & ((1u << bits) - 1);
  // The value in every place of a word.
  const uint32_t midpoints = stored * (bits == 4 ? 0x11111111u : 0x01010101u);
  for (int64_t i = 0; i < weights.zeros.NumElements(); ++i) {
    if (LoadWord(weights.zeros, i) != midpoints) return false;
  }
  return true;
}

bool GroupsAreInOrder(const TensorView& group_index, int64_t group_size) {
  for (int64_t k = 0; k < group_index.NumElements(); ++k) {
    if (static_cast<int64_t>(LoadWord(group_index, k)) != k / group_size) return false;
  }
  return true;
}

bool ScalesFitF16(const PackedWeights& weights) {
  constexpr float kLargest = 65504.0f;
  const float limit = kLargest / static_cast<float>(1 << weights.bits);
  for (int64_t i = 0; i < weights.scales.NumElements(); ++i) {
    if (!(std::fabs(LoadScale(weights, i)) <= limit)) return false;
  }
  return true;
}

}  // namespace pingti::worker
