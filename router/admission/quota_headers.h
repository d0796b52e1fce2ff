// What a key has left of its limits per minute, as answers say it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "router/admission/rate_limits.h"

namespace pingti::router {

// The x-ratelimit-* headers of OpenAI's API, which gRPC has as metadata: names and values. Limits
// that the key does not have are left out.
std::vector<std::pair<std::string, std::string>> QuotaHeaders(const Quota& quota);

}  // namespace pingti::router
