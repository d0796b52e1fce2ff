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
  const auto tenant = tenants_.find(line);
  return tenant == tenants_.end() ? virtual_time_ : tenant->second.start;
}

void FairOrder::OnAdded(const SequenceJob& job) {
  Tenant& tenant = tenants_[job.tenant];
  if (tenant.waiting++ == 0) tenant.start = std::max(tenant.start, virtual_time_);
}

void FairOrder::OnTaken(const SequenceJob& job) {
  Tenant& tenant = tenants_[job.tenant];
  --tenant.waiting;
  virtual_time_ = std::max(virtual_time_, tenant.start);
  tenant.start += Cost(job);
}

void FairOrder::OnRemoved(const SequenceJob& job) { --tenants_[job.tenant].waiting; }

}  // namespace pingti::router
