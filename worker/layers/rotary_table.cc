#include "worker/layers/rotary_table.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/base/check.h"

namespace pingti::worker {

RotaryTable::RotaryTable(RotarySpec spec) : spec_(std::move(spec)) {
  const auto values = static_cast<size_t>(spec_.max_positions * half_dim());
  cos_.reserve(values);
  sin_.reserve(values);
}

void RotaryTable::Grow(int64_t num_positions) {
  for (int64_t p = static_cast<int64_t>(cos_.size()) / half_dim(); p < num_positions; ++p) {
    double stretched_base = 0.0;
    if (spec_.dynamic_from > 0 && p >= spec_.dynamic_from) {
      const double dim = 2.0 * static_cast<double>(half_dim());
      const double ratio = static_cast<double>(p + 1) / static_cast<double>(spec_.dynamic_from);
      stretched_base =
          spec_.theta * std::pow(spec_.factor * ratio - (spec_.factor - 1.0), dim / (dim - 2.0));
    }
    for (int64_t i = 0; i < half_dim(); ++i) {
      float frequency = spec_.inv_freq[static_cast<size_t>(i)];
      if (stretched_base > 0.0) {
        frequency = static_cast<float>(
            std::pow(stretched_base, -static_cast<double>(i) / static_cast<double>(half_dim())));
      }
      const auto angle = static_cast<double>(static_cast<float>(p) * frequency);
      cos_.push_back(static_cast<float>(std::cos(angle)) * spec_.attention_factor);
      sin_.push_back(static_cast<float>(std::sin(angle)) * spec_.attention_factor);
    }
  }
}

void RotaryTable::Fill(std::span<const int32_t> positions, std::span<float> cos,
                       std::span<float> sin) {
  const int64_t half = half_dim();
  for (size_t t = 0; t < positions.size(); ++t) {
    const int64_t position = positions[t];
    PINGTI_CHECK(position >= 0 && position < spec_.max_positions);
    Grow(position + 1);
    const int64_t out = static_cast<int64_t>(t) * half;
    std::copy_n(cos_.begin() + position * half, half, cos.begin() + out);
    std::copy_n(sin_.begin() + position * half, half, sin.begin() + out);
  }
}

}  // namespace pingti::worker
