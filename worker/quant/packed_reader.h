// Reads packed weights (worker/tensor/packed_weights.h) on the host, some rows at a time: the
// layouts of GPTQ and AWQ run along the columns, so a single row would touch every cache line of
// the file. Pure functions; thread-safe. Needs a little-endian machine, as the file formats do.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "worker/tensor/packed_weights.h"

namespace pingti::worker {

// Rows to read at a time: a cache line of every layout's words is then used whole.
inline constexpr int64_t kPackedTileRows = 128;

// Some rows, unpacked. Its memory is kept from tile to tile.
struct PackedTile {
  int64_t first_row = 0;
  int64_t rows = 0;
  std::vector<uint8_t> q;      // [rows, cols]
  std::vector<float> scales;   // [rows, groups]
  std::vector<uint8_t> zeros;  // [rows, groups]
};

// Everything that the functions below rely on: bits, group size, and each tensor's type, shape and
// bytes. Errors: InvalidArgument or Unimplemented naming the tensor and what was expected.
absl::Status CheckPacked(const PackedWeights& weights);

// The rest REQUIRES: CheckPacked(weights).ok().

// Reads rows [first, first + count). REQUIRES: they are rows of the matrix.
void ReadPackedTile(const PackedWeights& weights, int64_t first, int64_t count, PackedTile* tile);

// Row `row` of the tile as floats, exactly. out: [cols].
void DequantizeTileRow(const PackedWeights& weights, const PackedTile& tile, int64_t row,
                       float* out);

// True when every stored zero means 2^(bits - 1), as those of symmetric weights do: the zeros may
// then be left out. REQUIRES: has_zeros().
bool ZerosAreMidpoints(const PackedWeights& weights);

// True when group_index, an I32 [cols] tensor, says what `group_size` says already. Otherwise
// columns were reordered by activation ("act-order").
bool GroupsAreInOrder(const TensorView& group_index, int64_t group_size);

// True when every scale times every value it may meet is finite in f16.
bool ScalesFitF16(const PackedWeights& weights);

}  // namespace pingti::worker
