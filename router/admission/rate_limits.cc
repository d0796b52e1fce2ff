// See rate_limits.h.
#include "router/admission/rate_limits.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"

namespace pingti::router {
namespace {

using TimePoint = RateLimits::TimePoint;

void SetLimitOf(std::optional<MinuteBucket>* bucket, uint64_t limit, TimePoint now) {
  if (limit == 0) {
    bucket->reset();
  } else if (bucket->has_value()) {
    (*bucket)->SetLimit(limit, now);
  } else {
    bucket->emplace(limit, now);
  }
}

absl::Status CheckBucket(const std::optional<MinuteBucket>& bucket, std::string_view what,
                         double amount, TimePoint now) {
  if (!bucket.has_value()) return absl::OkStatus();
  const double wait_s = bucket->WaitFor(amount, now).count();
  if (wait_s <= 0) return absl::OkStatus();
  const int seconds = static_cast<int>(std::min(std::ceil(wait_s), 86'400.0));
  return WithRetryAfter(
      ApiError(absl::StatusCode::kResourceExhausted,
               Concat("rate limit reached for this API key: limit ",
                      static_cast<uint64_t>(bucket->limit()), " ", what, " per minute, requested ",
                      static_cast<uint64_t>(amount), "; try again in ", seconds, " s"),
               "", "rate_limit_exceeded"),
      seconds);
}

std::optional<Quota::Limit> LimitOf(const std::optional<MinuteBucket>& bucket, TimePoint now) {
  if (!bucket.has_value()) return std::nullopt;
  const double left = std::max(bucket->Level(now), 0.0);
  const auto reset = std::chrono::ceil<std::chrono::milliseconds>(
      std::chrono::duration<double>(bucket->WaitFor(bucket->limit(), now)));
  return Quota::Limit{static_cast<uint64_t>(bucket->limit()), static_cast<uint64_t>(left), reset};
}

}  // namespace

void RateLimits::SetTenants(const std::map<std::string, Tenant>& tenants, TimePoint now) {
  std::map<std::string, Buckets> buckets;
  for (const auto& [name, tenant] : tenants) {
    if (tenant.requests_per_minute == 0 && tenant.tokens_per_minute == 0) continue;
    const auto old = buckets_.find(name);
    Buckets& own = buckets[name];
    if (old != buckets_.end()) own = old->second;
    SetLimitOf(&own.requests, tenant.requests_per_minute, now);
    SetLimitOf(&own.tokens, tenant.tokens_per_minute, now);
  }
  buckets_ = std::move(buckets);
}

absl::Status RateLimits::Check(const std::string& tenant, uint64_t tokens, TimePoint now) const {
  const auto found = buckets_.find(tenant);
  if (found == buckets_.end()) return absl::OkStatus();
  const absl::Status requests = CheckBucket(found->second.requests, "requests", 1, now);
  const absl::Status of_tokens =
      CheckBucket(found->second.tokens, "tokens", static_cast<double>(tokens), now);
  // Whoever comes back too early for the one would be refused again.
  return RetryAfterSeconds(requests) >= RetryAfterSeconds(of_tokens) ? requests : of_tokens;
}

void RateLimits::Charge(const std::string& tenant, double requests, double tokens, TimePoint now) {
  const auto found = buckets_.find(tenant);
  if (found == buckets_.end()) return;
  if (found->second.requests.has_value()) found->second.requests->Take(requests, now);
  if (found->second.tokens.has_value()) found->second.tokens->Take(tokens, now);
}

Quota RateLimits::QuotaOf(const std::string& tenant, TimePoint now) const {
  const auto found = buckets_.find(tenant);
  if (found == buckets_.end()) return {};
  return {LimitOf(found->second.requests, now), LimitOf(found->second.tokens, now)};
}

}  // namespace pingti::router
