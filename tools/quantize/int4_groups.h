// The arithmetic of W4A16 weights: symmetric groups of 4-bit integers, rounded to the nearest with
// the scale that leaves the least squared error. Pure functions; thread-safe. Next:
// layer_quantizer.h, which applies them to a layer.
#pragma once

#include <cstdint>
#include <span>

#include "worker/tensor/dtype.h"

namespace pingti::tools {

// q = round(value / scale) in [-8, 7]. The scale is a number of `scale_type` (BF16 or F16). It is
// the best by squared error of some that divide max|value| by 7 to 12, each improved once to what
// its integers would rather have, sum(value * q) / sum(q * q). Returns it; 1 for a group of zeros.
float QuantizeGroup(std::span<const float> group, worker::DType scale_type, std::span<int8_t> q);

// Eight integers to a word as compressed-tensors packs them ("pack-quantized"): q + 8, the first in
// the lowest bits; those that the last word lacks are 0. words: [ceil(q / 8)].
void PackInt4(std::span<const int8_t> q, std::span<uint32_t> words);

}  // namespace pingti::tools
