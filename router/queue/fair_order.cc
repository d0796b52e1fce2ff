// See fair_order.h.
#include "router/queue/fair_order.h"

#include <algorithm>

namespace pingti::router {
namespace {

double Cost(const SequenceJob& job) {
  // Resumed for a worker's fault: it was paid for when it left for the first time.
  if (job.resumed) return 0;
  return (static_cast<double>(job.tokens) + job.expected_answer()) / job.weight;
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

void FairOrder::OnAnswer(std::string_view line, double weight, double tokens) {
  auto account = lines_.find(line);
  // One that was forgotten stands where a new one would.
  if (account == lines_.end()) {
    if (tokens <= 0) return;
    account = lines_.emplace(line, Account{.start = virtual_time_}).first;
  }
  account->second.start += tokens / weight;
}

void FairOrder::OnRemoved(const SequenceJob& job) { --lines_[job.line].waiting; }

void FairOrder::Forget() {
  std::erase_if(lines_, [&](const auto& line) {
    return line.second.waiting == 0 && line.second.start <= virtual_time_;
  });
  forget_at_ = std::max<size_t>(1024, 2 * lines_.size());
}

}  // namespace pingti::router
