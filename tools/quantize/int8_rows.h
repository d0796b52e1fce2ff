// The arithmetic of W8A8 weights: one symmetric scale per output channel, and SmoothQuant's choice
// of what to move from activations to weights. Pure functions; thread-safe. Next:
// layer_quantizer.h, which applies them to a layer.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pingti::tools {

// q = round(row / scale) in [-127, 127], with scale = max|row| / 127. `bf16_scale`: the scale is
// first rounded up to a bf16 number, the type in which 16-bit checkpoints keep it, so that what is
// stored is what was divided by and nothing clips. Returns the scale; a row of zeros has scale 1.
float QuantizeRow(std::span<const float> row, bool bf16_scale, std::span<int8_t> q);

// largest[j] = max(largest[j], |row[j]|).
void UpdateLargest(std::span<const float> row, std::span<float> largest);

// ||a - b|| / ||a|| over all values that were added.
class RelativeErrorSum {
 public:
  void Add(std::span<const float> a, std::span<const float> b);
  // 0 when a and b are equal, infinite when only a is zero.
  double Value() const;

 private:
  double difference_ = 0.0;
  double size_ = 0.0;
};

// What activations are divided by and weights multiplied with, per input channel:
// s = max|x|^alpha / max|w|^(1 - alpha) (Xiao et al., "SmoothQuant", ICML 2023, equation 4). 1
// where a channel is always zero or has no weights.
std::vector<float> SmoothingScales(std::span<const float> largest_input,
                                   std::span<const float> largest_weight, double alpha);

}  // namespace pingti::tools
