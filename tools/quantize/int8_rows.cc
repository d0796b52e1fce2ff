#include "tools/quantize/int8_rows.h"

#include <algorithm>
#include <cmath>

#include "worker/tensor/float16.h"

namespace pingti::tools {
namespace {

constexpr float kLargestInt8 = 127.0f;

// The smallest bf16 number that is not below a positive `value`.
float RoundUpToBf16(float value) {
  uint16_t bits = worker::FloatToBf16(value);
  if (worker::Bf16ToFloat(bits) < value) ++bits;
  return worker::Bf16ToFloat(bits);
}

}  // namespace

float QuantizeRow(std::span<const float> row, bool bf16_scale, std::span<int8_t> q) {
  float largest = 0.0f;
  for (const float value : row) largest = std::max(largest, std::fabs(value));
  float scale = largest > 0.0f ? largest / kLargestInt8 : 1.0f;
  if (bf16_scale) scale = RoundUpToBf16(scale);
  for (size_t i = 0; i < row.size(); ++i) {
    q[i] = static_cast<int8_t>(
        std::clamp(std::nearbyint(row[i] / scale), -kLargestInt8, kLargestInt8));
  }
  return scale;
}

void UpdateLargest(std::span<const float> row, std::span<float> largest) {
  for (size_t i = 0; i < row.size(); ++i) largest[i] = std::max(largest[i], std::fabs(row[i]));
}

void RelativeErrorSum::Add(std::span<const float> a, std::span<const float> b) {
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference_ += d * d;
    size_ += static_cast<double>(a[i]) * static_cast<double>(a[i]);
  }
}

double RelativeErrorSum::Value() const {
  return difference_ == 0.0 ? 0.0 : std::sqrt(difference_ / size_);
}

std::vector<float> SmoothingScales(std::span<const float> largest_input,
                                   std::span<const float> largest_weight, double alpha) {
  std::vector<float> scales(largest_input.size(), 1.0f);
  for (size_t i = 0; i < scales.size(); ++i) {
    if (largest_input[i] <= 0.0f || largest_weight[i] <= 0.0f) continue;
    const double scale = std::pow(static_cast<double>(largest_input[i]), alpha) /
                         std::pow(static_cast<double>(largest_weight[i]), 1.0 - alpha);
    // Beyond these a channel would leave the range of 16-bit norms.
    scales[i] = static_cast<float>(std::clamp(scale, 1e-4, 1e4));
  }
  return scales;
}

}  // namespace pingti::tools
