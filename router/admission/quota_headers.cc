// See quota_headers.h.
#include "router/admission/quota_headers.h"

#include <string_view>

#include "common/base/strings.h"

namespace pingti::router {
namespace {

// As OpenAI writes it and Go's time.ParseDuration reads it: "120ms", "7.5s", "6m0s".
std::string DurationText(std::chrono::milliseconds time) {
  const int64_t ms = time.count();
  if (ms < 1000) return Concat(ms, "ms");
  std::string seconds = Concat(ms / 1000 % 60);
  if (const int64_t rest = ms % 1000; rest > 0) {
    std::string digits = Concat(rest + 1000).substr(1);
    digits.resize(digits.find_last_not_of('0') + 1);
    seconds += Concat(".", digits);
  }
  return ms < 60'000 ? Concat(seconds, "s") : Concat(ms / 60'000, "m", seconds, "s");
}

void AddLimit(std::string_view of, const std::optional<Quota::Limit>& limit,
              std::vector<std::pair<std::string, std::string>>* headers) {
  if (!limit.has_value()) return;
  headers->emplace_back(Concat("x-ratelimit-limit-", of), Concat(limit->limit));
  headers->emplace_back(Concat("x-ratelimit-remaining-", of), Concat(limit->remaining));
  headers->emplace_back(Concat("x-ratelimit-reset-", of), DurationText(limit->reset));
}

}  // namespace

std::vector<std::pair<std::string, std::string>> QuotaHeaders(const Quota& quota) {
  std::vector<std::pair<std::string, std::string>> headers;
  AddLimit("requests", quota.requests, &headers);
  AddLimit("tokens", quota.tokens, &headers);
  return headers;
}

}  // namespace pingti::router
