// How `pingti quantize` rounds matrices. Plain values.
#pragma once

#include <cstdint>

namespace pingti::tools {

enum class WeightScheme {
  kInt8,  // W8A8: a scale per row, activations rounded per token while running
  kInt4,  // W4A16: a scale per group of values of a row, activations as they are
};

// Values that share a scale in int4, where nothing else is asked for; what other tools use, too.
inline constexpr int64_t kDefaultGroupSize = 128;

}  // namespace pingti::tools
