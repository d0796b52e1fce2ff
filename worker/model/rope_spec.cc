#include "worker/model/rope_spec.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace pingti::worker {
namespace {

double LlamaThreeFrequency(const RopeConfig& rope, double frequency) {
  const auto original = static_cast<double>(rope.original_max_position);
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  if (wavelength < original / rope.high_freq_factor) return frequency;
  if (wavelength > original / rope.low_freq_factor) return frequency / rope.factor;
  const double smooth = (original / wavelength - rope.low_freq_factor) /
                        (rope.high_freq_factor - rope.low_freq_factor);
  return (1.0 - smooth) * frequency / rope.factor + smooth * frequency;
}

// The dimension whose frequency makes `rotations` turns within the original context.
double YarnCorrectionDim(const RopeConfig& rope, double dim, double rotations) {
  return dim *
         std::log(static_cast<double>(rope.original_max_position) /
                  (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(rope.theta));
}

double YarnFrequency(const RopeConfig& rope, double dim, int64_t i, double frequency) {
  double low = YarnCorrectionDim(rope, dim, rope.beta_fast);
  double high = YarnCorrectionDim(rope, dim, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (low == high) high += 0.001;
  const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
  return frequency / rope.factor * ramp + frequency * (1.0 - ramp);
}

double YarnMscale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

double YarnAttentionFactor(const RopeConfig& rope) {
  if (rope.attention_factor.has_value()) return *rope.attention_factor;
  if (rope.mscale.value_or(0.0) != 0.0 && rope.mscale_all_dim.value_or(0.0) != 0.0) {
    return YarnMscale(rope.factor, *rope.mscale) / YarnMscale(rope.factor, *rope.mscale_all_dim);
  }
  return YarnMscale(rope.factor, 1.0);
}

}  // namespace

RotarySpec MakeRotarySpec(const DecoderSpec& decoder) {
  const RopeConfig& rope = decoder.rope;
  const int64_t head_dim = decoder.layers.front().rope_dim();
  const int64_t rotary_dim = rope.rotary_dim == 0 ? head_dim : rope.rotary_dim;
  const std::vector<float>& divisors =
      rope.scaling == RopeScaling::kLongRope && decoder.max_context > rope.original_max_position
          ? rope.long_divisors
          : rope.freq_divisors;
  RotarySpec spec;
  spec.max_positions = decoder.max_context;
  spec.theta = rope.theta;
  spec.factor = rope.factor;
  const auto dim = static_cast<double>(rotary_dim);
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    double frequency = std::pow(rope.theta, -2.0 * static_cast<double>(i) / dim);
    if (!divisors.empty()) frequency /= static_cast<double>(divisors[static_cast<size_t>(i)]);
    switch (rope.scaling) {
      case RopeScaling::kNone:
      case RopeScaling::kDynamicNtk:
      case RopeScaling::kLongRope:
        break;
      case RopeScaling::kLinear:
        frequency /= rope.factor;
        break;
      case RopeScaling::kYarn:
        frequency = YarnFrequency(rope, dim, i, frequency);
        break;
      case RopeScaling::kLlama3:
        frequency = LlamaThreeFrequency(rope, frequency);
        break;
      case RopeScaling::kNoRotation:
        frequency = 0.0;
        break;
    }
    spec.inv_freq.push_back(static_cast<float>(frequency));
  }
  spec.still_pairs = (head_dim - rotary_dim) / 2;
  spec.inv_freq.resize(static_cast<size_t>(head_dim / 2));
  if (rope.scaling == RopeScaling::kLongRope) {
    spec.attention_factor = static_cast<float>(rope.attention_factor.value_or(1.0));
  }
  if (rope.scaling == RopeScaling::kYarn) {
    spec.attention_factor = static_cast<float>(YarnAttentionFactor(rope));
  }
  if (rope.scaling == RopeScaling::kDynamicNtk) spec.dynamic_from = rope.original_max_position;
  return spec;
}

}  // namespace pingti::worker
