// From the packed words of Hugging Face checkpoints to panels with a scale per 32 values. Part of
// packed_matrix.h; next: worker/quant/packed_reader.h.
#pragma once

#include <cstdint>

#include "worker/backend/cpu/cpu_kernels.h"
#include "worker/backend/matrix_format.h"
#include "worker/quant/packed_reader.h"
#include "worker/tensor/packed_weights.h"

namespace pingti::worker::cpu {

// The format that keeps `weights` as they are, in groups of 32. Where there are zeros the panels
// hold a minimum, -scale * zero, rounded to f16: values are off by less than 1 % of a step.
// What no panel holds becomes bf16: 8 bits with zeros, and scales beyond f16.
MatrixFormat WordFormat(const PackedWeights& weights);

// Row `row` of the tile into column `column` of a panel whose bytes start as zero. REQUIRES: format
// is that of WordFormat(weights), and a group format.
void PackWordColumn(const PackedWeights& weights, const PackedTile& tile, int64_t row,
                    int64_t column, PanelFormat format, uint8_t* panel);

}  // namespace pingti::worker::cpu
