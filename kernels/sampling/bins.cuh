// Bins of a row's tokens in the order of the draw (descending logit, then ascending id), and how a
// block counts and weighs the tokens that fall into them. Device code. Read next: select.cuh.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/sampling/row_stats.cuh"

namespace pingti::kernels::sampling {

inline constexpr int kCandidates = 1024;  // tokens that one block sorts
inline constexpr int kBins = 1024;
inline constexpr int kBinsPerThread = kBins / kThreads;
inline constexpr float kBinsPerUnit = 16.0f;  // of logit difference, after temperature
inline constexpr float kBinWidth = 1.0f / kBinsPerUnit;

// The first `count` tokens of the order and their weight.
struct Prefix {
  uint32_t count;
  double mass;
};

struct Weights {
  float max;
  float inverse_temperature;
  __device__ float Distance(float x) const { return (max - x) * inverse_temperature; }
  // Whether it shows: 360,448 tokens that far below the best weigh less than 1e-8.
  __device__ bool IsFelt(float distance) const { return distance < 32.0f; }
  __device__ float operator()(float x) const { return __expf(-Distance(x)); }
};

// ---- bins: both kinds give a token's bin in the order of the draw, and how far below the bin's
// top it lies, after temperature. A bin is at most kBinWidth deep, but for the last one of the
// whole row, whose tokens weigh nothing.

// By distance from the row's maximum: the whole row, or one bin of it in finer ones.
class DistanceBins {
 public:
  static __device__ DistanceBins WholeRow(const Weights& weight) { return {weight, 0.0f, 1.0f}; }
  static __device__ DistanceBins Within(const Weights& weight, int bin) {
    return {weight, static_cast<float>(bin), static_cast<float>(kBins)};
  }

  // False: no token of these bins. -inf is no token.
  __device__ bool Find(float x, int* bin, float* depth) const {
    if (x == -INFINITY) return false;
    const float distance = weight.Distance(x);
    // Exact: within a bin, since the difference of two neighbours is; else nothing is subtracted.
    const float position = (distance * kBinsPerUnit - origin_) * per_bin_;
    if (per_bin_ != 1.0f && !(position >= 0.0f && position < kBins)) return false;
    *bin = position < kBins - 1 ? static_cast<int>(position) : kBins - 1;
    *depth = distance - TopDistance(*bin);
    return true;
  }
  __device__ float TopWeight(int bin) const { return expf(-TopDistance(bin)); }

  Weights weight;

 private:
  __device__ DistanceBins(const Weights& weights, float origin, float per_bin)
      : weight(weights), origin_(origin), per_bin_(per_bin) {}
  __device__ float TopDistance(int bin) const {
    return (origin_ + static_cast<float>(bin) / per_bin_) * kBinWidth;
  }

  float origin_;   // in bins of the whole row
  float per_bin_;  // bins per bin of the whole row, a power of two
};

// The tokens with keys in [low, high], in ranges of 2^shift keys.
struct KeyBins {
  Weights weight;
  uint32_t low;
  uint32_t high;
  int shift;

  __device__ KeyBins(const Weights& weights, uint32_t lowest, uint32_t highest)
      : weight(weights), low(lowest), high(highest) {
    shift = max(0, 32 - __clz(highest - lowest) - kLogBins);
  }

  __device__ bool Find(float x, int* bin, float* depth) const {
    const uint32_t key = OrderedKey(x);
    if (x == -INFINITY || key < low || key > high) return false;
    *bin = static_cast<int>((high - key) >> shift);
    *depth = weight.Distance(x) - weight.Distance(KeyToFloat(Top(*bin)));
    return true;
  }
  __device__ float TopWeight(int bin) const { return weight(KeyToFloat(Top(bin))); }
  __device__ uint32_t Top(int bin) const { return high - (static_cast<uint32_t>(bin) << shift); }
  // The lowest key of a bin that holds tokens.
  __device__ uint32_t Bottom(int bin) const {
    const uint32_t depth = (1u << shift) - 1;
    return Top(bin) - low > depth ? Top(bin) - depth : low;
  }

 private:
  static constexpr int kLogBins = 10;
  static_assert(1 << kLogBins == kBins);
};

// A bin's weight is TopWeight * (count - shortfall / kShortfallUnit): integers, so that the order
// of additions does not matter. 32 bits hold what one block of a cluster counts.
inline constexpr float kShortfallUnit = 1 << 20;

template <int kCluster>
struct BinCounts {
  using Shortfall = std::conditional_t<kCluster == 1, unsigned long long, uint32_t>;
  using CountPair = uint2;
  using ShortfallPair = std::conditional_t<kCluster == 1, ulonglong2, uint2>;

  // Of `bin`, which is even, and the one after it.
  __device__ CountPair CountsOf(int bin) const {
    return *reinterpret_cast<const CountPair*>(&count[bin]);
  }
  __device__ ShortfallPair ShortfallsOf(int bin) const {
    return *reinterpret_cast<const ShortfallPair*>(&shortfall[bin]);
  }

  alignas(16) uint32_t count[kBins];
  alignas(16) Shortfall shortfall[kBins];
};
static_assert(kBinsPerThread == 2, "a thread sums a pair of bins");

// 1 - exp(-depth) in units of the shortfall, by its series: exact to 0.01 units at kBinWidth.
__device__ __forceinline__ uint32_t ShortfallOf(float depth) {
  const float y = fminf(fmaxf(depth, 0.0f), kBinWidth);
  const float value = y * (1.0f - y * (0.5f - y * (1.0f / 6 - y * (1.0f / 24))));
  return static_cast<uint32_t>(value * kShortfallUnit + 0.5f);
}

}  // namespace pingti::kernels::sampling
