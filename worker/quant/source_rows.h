// Reads rows of a weight matrix (worker/tensor/matrix_source.h), whatever type the checkpoint keeps
// it in, in the order that a prepared matrix has them. The one reader of all backends.
//
// A reader holds scratch: one per thread; the source must outlive it.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "worker/quant/packed_reader.h"
#include "worker/tensor/matrix_source.h"

namespace pingti::worker {

// Shape, type, scales and packed words, as far as they do not depend on a backend. A source without
// data passes. Errors: InvalidArgument or Unimplemented naming the tensor and what was expected.
absl::Status CheckMatrixSource(const MatrixSource& source);

// The source's row that row `row` of the prepared matrix is; see MatrixSource::interleaved_heads.
int64_t SourceRow(const MatrixSource& source, int64_t row);

class SourceRows {
 public:
  // REQUIRES: CheckMatrixSource(source).ok(), and it has data.
  explicit SourceRows(const MatrixSource& source) : source_(source) {}

  // Rows [first, last) of the prepared matrix, dense. `out`: [last - first, cols].
  void ReadF32(int64_t first, int64_t last, float* out);
  void ReadBf16(int64_t first, int64_t last, uint16_t* out);
  // Symmetric int8 with a scale per row: value ~ scale * q. What is int8 already keeps its numbers
  // and scales. `scales`: [last - first].
  void ReadInt8(int64_t first, int64_t last, int8_t* out, float* scales);

  // Row `row` as the file keeps it. REQUIRES: not packed.
  const uint8_t* Raw(int64_t row) const;
  // The tile of kPackedTileRows rows that holds row `row`, unpacked; valid until the next call of
  // any function. REQUIRES: packed.
  const PackedTile& Tile(int64_t row);

 private:
  void ReadRow(int64_t row, float* out);
  // Multiplies a row of the source with its blocks' scales.
  void ScaleBlocks(int64_t row, int64_t cols, float* out);

  const MatrixSource& source_;
  PackedTile tile_;
  std::vector<float> values_;  // one row
  std::vector<float> scales_;  // of a row of blocks
};

}  // namespace pingti::worker
