#include "tools/quantize/int4_groups.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/check.h"
#include "worker/tensor/float16.h"

namespace pingti::tools {
namespace {

constexpr float kLowest = -8.0f;
constexpr float kHighest = 7.0f;
// 7: nothing is cut off. 8: only what is positive. Beyond: the largest values give way to the rest.
constexpr float kDivisors[] = {7.0f, 7.5f, 8.0f, 8.5f, 9.0f, 10.0f, 11.0f, 12.0f};

float RoundTo(worker::DType type, float value) {
  return type == worker::DType::kF16 ? worker::F16ToFloat(worker::FloatToF16(value))
                                     : worker::Bf16ToFloat(worker::FloatToBf16(value));
}

float Nearest(float value, float inverse_scale) {
  return std::clamp(std::nearbyint(value * inverse_scale), kLowest, kHighest);
}

// Squared error with a scale, and the scale that the integers would rather have.
struct Fit {
  float error = std::numeric_limits<float>::infinity();
  float better_scale = 0.0f;
};
Fit FitOf(std::span<const float> group, float scale) {
  if (!(scale > 0.0f) || !std::isfinite(1.0f / scale)) return {};
  const float inverse = 1.0f / scale;
  float error = 0.0f;
  float products = 0.0f;
  float squares = 0.0f;
  for (const float value : group) {
    const float q = Nearest(value, inverse);
    const float off = value - scale * q;
    error += off * off;
    products += value * q;
    squares += q * q;
  }
  return {error, squares > 0.0f ? products / squares : 0.0f};
}

}  // namespace

float QuantizeGroup(std::span<const float> group, worker::DType scale_type, std::span<int8_t> q) {
  PINGTI_CHECK(q.size() == group.size());
  float largest = 0.0f;
  for (const float value : group) largest = std::max(largest, std::fabs(value));
  float best = 1.0f;
  float least = std::numeric_limits<float>::infinity();
  const auto consider = [&](float scale) {
    const Fit fit = FitOf(group, scale);
    if (fit.error < least) {
      least = fit.error;
      best = scale;
    }
    return fit.better_scale;
  };
  for (const float divisor : kDivisors) {
    if (largest == 0.0f) break;
    consider(RoundTo(scale_type, consider(RoundTo(scale_type, largest / divisor))));
  }
  for (size_t i = 0; i < group.size(); ++i)
    q[i] = static_cast<int8_t>(Nearest(group[i], 1.0f / best));
  return best;
}

void PackInt4(std::span<const int8_t> q, std::span<uint32_t> words) {
  constexpr size_t kPerWord = 8;
  PINGTI_CHECK(words.size() == (q.size() + kPerWord - 1) / kPerWord);
  std::fill(words.begin(), words.end(), 0);
  for (size_t i = 0; i < q.size(); ++i) {
    words[i / kPerWord] |= static_cast<uint32_t>(q[i] + 8) << (4 * (i % kPerWord));
  }
}

}  // namespace pingti::tools
