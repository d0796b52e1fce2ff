// Counts of durations in buckets that grow with them, so that percentiles over millions of gaps
// between tokens cost a fixed 30 KB and are right to within 1.6 %.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace pingti::tools {

// Thread-compatible.
class LatencyHistogram {
 public:
  void Add(std::chrono::nanoseconds duration);
  // The middle of the bucket that holds the share `quantile` (0..1); 0 when empty.
  double QuantileMs(double quantile) const;
  double MeanMs() const;
  double MaxMs() const { return static_cast<double>(max_ns_) / 1e6; }
  uint64_t count() const { return count_; }

 private:
  // Nanoseconds below kSub have a bucket each; above, each power of two has kSub buckets.
  static constexpr int kSubBits = 6;
  static constexpr int kSub = 1 << kSubBits;
  static constexpr int kPowers = 64 - kSubBits + 1;

  static int BucketOf(uint64_t ns);
  static double MiddleOf(int bucket);

  std::array<uint64_t, size_t{kSub} * kPowers> buckets_{};
  uint64_t count_ = 0;
  uint64_t sum_ns_ = 0;
  uint64_t max_ns_ = 0;
};

}  // namespace pingti::tools
