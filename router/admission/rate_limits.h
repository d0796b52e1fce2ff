// Requests and tokens per minute of each API key.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "router/admission/minute_bucket.h"
#include "router/admission/tenant.h"

namespace pingti::router {

// What a key has left, for the x-ratelimit-* headers.
struct Quota {
  struct Limit {
    uint64_t limit;
    uint64_t remaining;
    std::chrono::milliseconds reset;  // until everything is there again
  };
  // Absent: not limited.
  std::optional<Limit> requests{};
  std::optional<Limit> tokens{};
};

// Thread-compatible.
class RateLimits {
 public:
  using TimePoint = MinuteBucket::TimePoint;

  // What a key has used counts under its new limits, too.
  void SetTenants(const std::map<std::string, Tenant>& tenants, TimePoint now);

  // Whether a request with `tokens` may go now. Errors: ResourceExhausted with the limit and
  // Retry-After, the time until the request will be let through if nothing else comes.
  absl::Status Check(const std::string& tenant, uint64_t tokens, TimePoint now) const;
  // Counts what was used, or gives back where it is negative.
  void Charge(const std::string& tenant, double requests, double tokens, TimePoint now);

  Quota QuotaOf(const std::string& tenant, TimePoint now) const;

 private:
  struct Buckets {
    std::optional<MinuteBucket> requests{};
    std::optional<MinuteBucket> tokens{};
  };
  std::map<std::string, Buckets> buckets_;  // of keys that have a limit
};

}  // namespace pingti::router
