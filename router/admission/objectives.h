// Within what time first tokens should come, by class of the API key.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pingti::router {

using FirstTokenObjectives = std::map<std::string, std::chrono::milliseconds, std::less<>>;

// `texts` are "CLASS=DURATION". Errors: InvalidArgument for one without either, for a class given
// twice, and for a time that is not above zero.
absl::StatusOr<FirstTokenObjectives> ParseObjectives(const std::vector<std::string>& texts);

}  // namespace pingti::router
