#include "worker/engine/step_times.h"

#include <algorithm>
#include <bit>
#include <map>
#include <utility>

namespace pingti::worker {
namespace {

constexpr double kTimeWeight = 0.25;
// A step beyond this many times what is usual was disturbed: it counts as so long.
constexpr double kOutlier = 2.0;

}  // namespace

int32_t StepTimes::ClassOf(int32_t num_tokens) {
  if (num_tokens <= 16) return num_tokens;
  const auto width =
      static_cast<int32_t>(std::bit_floor(static_cast<uint32_t>(num_tokens - 1)) / 8);
  return (num_tokens + width - 1) / width * width;
}

void StepTimes::Add(int32_t num_tokens, std::chrono::nanoseconds duration) {
  ++num_steps_;
  Entry& entry = entries_[ClassOf(num_tokens)];
  const double seconds = std::chrono::duration<double>(duration).count();
  if (entry.count == 0) {
    entry.seconds = seconds;
  } else if (entry.count == 1) {
    entry.seconds = std::min(entry.seconds, seconds);
  } else {
    entry.seconds += (std::min(seconds, kOutlier * entry.seconds) - entry.seconds) * kTimeWeight;
  }
  ++entry.count;
  entry.seen_at = num_steps_;
  std::erase_if(entries_,
                [&](const auto& item) { return num_steps_ - item.second.seen_at > kForgetAfter; });
}

double StepTimes::At(int32_t num_tokens) const {
  const int32_t size = ClassOf(num_tokens);
  std::pair<int32_t, double> before{0, 0.0};  // the two known sizes that a line goes through
  std::pair<int32_t, double> last{0, 0.0};
  for (const auto& [known, entry] : entries_) {
    if (entry.count < 2) continue;
    before = last;
    last = {known, entry.seconds};
    if (known >= size) break;
  }
  if (last.first == size || (last.first < size && before.first == 0)) return last.second;
  const double per_token = std::max(0.0, last.second - before.second) / (last.first - before.first);
  return before.second + per_token * (size - before.first);
}

}  // namespace pingti::worker
