// See minute_bucket.h.
#include "router/admission/minute_bucket.h"

#include <algorithm>

namespace pingti::router {

double MinuteBucket::Level(TimePoint now) const {
  const double minutes = std::chrono::duration<double, std::ratio<60>>(now - filled_at_).count();
  return std::min(limit_, level_ + minutes * limit_);
}

void MinuteBucket::SetLimit(uint64_t limit, TimePoint now) {
  level_ = Level(now) + static_cast<double>(limit) - limit_;
  limit_ = static_cast<double>(limit);
  filled_at_ = now;
}

std::chrono::duration<double> MinuteBucket::WaitFor(double amount, TimePoint now) const {
  // Rounding must not keep the last drop of a bucket that was asked for all it holds.
  constexpr double kRounding = 1e-6;
  const double missing = std::min(amount, limit_) - Level(now);
  return std::chrono::duration<double>(missing <= kRounding ? 0 : missing / limit_ * 60);
}

void MinuteBucket::Take(double amount, TimePoint now) {
  level_ = std::min(limit_, Level(now) - amount);
  filled_at_ = now;
}

}  // namespace pingti::router
