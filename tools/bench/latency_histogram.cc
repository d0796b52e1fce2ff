// See latency_histogram.h.
#include "tools/bench/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace pingti::tools {

// Below kSub every nanosecond has a bucket; above, the kSubBits bits behind the highest choose.
int LatencyHistogram::BucketOf(uint64_t ns) {
  if (ns < kSub) return static_cast<int>(ns);
  const int shift = std::bit_width(ns) - 1 - kSubBits;
  return (shift + 1) * kSub + static_cast<int>((ns >> shift) - kSub);
}

double LatencyHistogram::MiddleOf(int bucket) {
  if (bucket < kSub) return bucket;
  const int shift = bucket / kSub - 1;
  return std::ldexp(bucket % kSub + kSub + 0.5, shift);
}

void LatencyHistogram::Add(std::chrono::nanoseconds duration) {
  const uint64_t ns = static_cast<uint64_t>(std::max<int64_t>(0, duration.count()));
  ++buckets_[BucketOf(ns)];
  ++count_;
  sum_ns_ += ns;
  max_ns_ = std::max(max_ns_, ns);
}

double LatencyHistogram::QuantileMs(double quantile) const {
  if (count_ == 0) return 0;
  const uint64_t rank = std::max<uint64_t>(
      1, static_cast<uint64_t>(std::ceil(quantile * static_cast<double>(count_))));
  uint64_t seen = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= rank) return std::min(MiddleOf(static_cast<int>(i)) / 1e6, MaxMs());
  }
  return MaxMs();
}

double LatencyHistogram::MeanMs() const {
  return count_ == 0 ? 0 : static_cast<double>(sum_ns_) / static_cast<double>(count_) / 1e6;
}

}  // namespace pingti::tools
