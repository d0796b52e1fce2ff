// Error statistics of a result against a float64 reference, and reproducible random inputs.
// Pure host functions. Next: run.h.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

namespace pingti::kernels::testing {

inline double ToDouble(float x) { return x; }
inline double ToDouble(double x) { return x; }
inline double ToDouble(int8_t x) { return x; }
inline double ToDouble(int32_t x) { return x; }
inline double ToDouble(__nv_bfloat16 x) { return static_cast<double>(__bfloat162float(x)); }
inline double ToDouble(__half x) { return static_cast<double>(__half2float(x)); }

template <typename T>
T FromFloat(float x) {
  if constexpr (sizeof(T) == 4) {
    return static_cast<T>(x);
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(x);
  } else {
    return __float2bfloat16_rn(x);
  }
}

struct ErrorStats {
  double max_abs = 0;  // max |got - ref|
  double rel_l2 = 0;   // ||got - ref|| / ||ref||
  size_t worst = 0;    // index of max_abs
  size_t num_bad = 0;  // elements of `got` that are NaN or infinite where the reference is finite
  bool Finite() const { return num_bad == 0; }
};

template <typename T, typename R>
ErrorStats Compare(const std::vector<T>& got, const std::vector<R>& ref) {
  ErrorStats stats;
  double diff2 = 0, ref2 = 0;
  for (size_t i = 0; i < ref.size(); ++i) {
    const double r = ToDouble(ref[i]);
    const double g = i < got.size() ? ToDouble(got[i]) : std::numeric_limits<double>::quiet_NaN();
    if (!std::isfinite(g)) {
      if (stats.num_bad++ == 0) stats.worst = i;
      continue;
    }
    const double diff = std::abs(g - r);
    diff2 += diff * diff;
    ref2 += r * r;
    if (diff > stats.max_abs) {
      stats.max_abs = diff;
      if (stats.num_bad == 0) stats.worst = i;
    }
  }
  stats.rel_l2 = ref2 > 0 ? std::sqrt(diff2 / ref2) : std::sqrt(diff2);
  return stats;
}

// splitmix64: small, fast, the same on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  // [0, bound), bound > 0.
  uint32_t Below(uint32_t bound) { return static_cast<uint32_t>(Next() % bound); }
  // [-1, 1).
  float Uniform() { return static_cast<float>(static_cast<int64_t>(Next()) * 0x1p-63); }
  // Mean 0, variance 1 (sum of four uniforms, scaled): normal enough for inputs.
  float Normal() {
    const uint64_t bits = Next();
    int sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<int>((bits >> (16 * i)) & 0xFFFF) - 32768;
    return static_cast<float>(sum) * (1.0f / 32768) * 0.8660254f;
  }

 private:
  uint64_t state_;
};

template <typename T>
std::vector<T> RandomNormal(size_t size, Random* random, float scale = 1.0f) {
  std::vector<T> values(size);
  for (T& value : values) value = FromFloat<T>(random->Normal() * scale);
  return values;
}

}  // namespace pingti::kernels::testing
