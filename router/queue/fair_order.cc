// See fair_order.h.
#include "router/queue/fair_order.h"

#include <algorithm>

namespace pingti::router {
namespace {

double Cost(const SequenceJob& job) {
  // Resumed for a worker's fault: it was paid for when it left for the first time.
  if (job.resumed) return 0;
  const uint32_t limit = job.sequence.stop.max_tokens;
  const uint32_t answer =
      limit == 0 ? FairOrder::kMostAnswerTokens : std::min(limit, FairOrder::kMostAnswerTokens);
  return static_cast<double>(job.tokens) + answer;
}

}  // namespace

double FairOrder::Rank(std::string_view line) const {
  const auto account = lines_.find(line);
  return account == lines_.end() ? virtual_time_ : account->second.start;
}

void FairOrder::OnAdded(const SequenceJob& job) {
  if (lines_.size() >= forget_at_) Forget();
  Account& line = lines_[job.line];
  if (line.waiting++ == 0) line.start = std::max(line.start, virtual_time_);
}

void FairOrder::OnTaken(const SequenceJob& job) {
  Account& line = lines_[job.line];
  --line.waiting;
  virtual_time_ = std::max(virtual_time_, line.start);
  line.start += Cost(job);
}

void FairOrder::OnRemoved(const SequenceJob& job) { --lines_[job.line].waiting; }

void FairOrder::Forget() {
  std::erase_if(lines_, [&](const auto& line) {
    return line.second.waiting == 0 && line.second.start <= virtual_time_;
  });
  forget_at_ = std::max<size_t>(1024, 2 * lines_.size());
}

}  // namespace pingti::router
