#include "worker/layers/rotary_table.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/base/check.h"

namespace pingti::worker {
namespace {

constexpr int64_t kPagePositions = 1024;

}  // namespace

RotaryTable::RotaryTable(RotarySpec spec) : spec_(std::move(spec)) {}

void RotaryTable::Grow(int64_t num_positions) {
  const int64_t turning = half_dim() - spec_.still_pairs;
  for (int64_t& p = num_positions_; p < num_positions; ++p) {
    if (p % kPagePositions == 0) {
      cos_.emplace_back().reserve(static_cast<size_t>(kPagePositions * half_dim()));
      sin_.emplace_back().reserve(static_cast<size_t>(kPagePositions * half_dim()));
    }
    double stretched_base = 0.0;
    if (spec_.dynamic_from > 0 && p >= spec_.dynamic_from) {
      const double dim = 2.0 * static_cast<double>(turning);
      const double ratio = static_cast<double>(p + 1) / static_cast<double>(spec_.dynamic_from);
      stretched_base =
          spec_.theta * std::pow(spec_.factor * ratio - (spec_.factor - 1.0), dim / (dim - 2.0));
    }
    for (int64_t i = 0; i < half_dim(); ++i) {
      float frequency = spec_.inv_freq[static_cast<size_t>(i)];
      if (stretched_base > 0.0 && i < turning) {
        frequency = static_cast<float>(
            std::pow(stretched_base, -static_cast<double>(i) / static_cast<double>(turning)));
      }
      const auto angle = static_cast<double>(static_cast<float>(p) * frequency);
      const float scale = i < turning ? spec_.attention_factor : 1.0f;
      cos_.back().push_back(static_cast<float>(std::cos(angle)) * scale);
      sin_.back().push_back(static_cast<float>(std::sin(angle)) * scale);
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
    const auto page = static_cast<size_t>(position / kPagePositions);
    const int64_t row = position % kPagePositions * half;
    std::copy_n(cos_[page].begin() + row, half, cos.begin() + out);
    std::copy_n(sin_[page].begin() + row, half, sin.begin() + out);
  }
}

}  // namespace pingti::worker
