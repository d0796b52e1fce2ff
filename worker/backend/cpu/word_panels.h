// From the packed words of Hugging Face checkpoints to panels with a scale per 32 values. Part of
// packed_matrix.h; next: worker/quant/packed_reader.h.
#pragma once

#include <cstdint>

#include "worker/backend/cpu/cpu_kernels.h"
#include "worker/quant/packed_reader.h"
#include "worker/tensor/packed_weights.h"

namespace pingti::worker::cpu {

// The panels that keep `weights` as they are: kQ4, kQ4Min where there are zeros, kQ8. In kQ4Min the
// minimum, -scale * zero, is rounded to f16: values are off by less than 1 % of a step. kBf16 for
// what no panel holds: 8 bits with zeros, and scales beyond f16.
PanelFormat WordPanelFormat(const PackedWeights& weights);

// Row `row` of the tile into column `column` of a panel whose bytes start as zero. REQUIRES: format
// is a group format, from WordPanelFormat.
void PackWordColumn(const PackedWeights& weights, const PackedTile& tile, int64_t row,
                    int64_t column, PanelFormat format, uint8_t* panel);

}  // namespace pingti::worker::cpu
