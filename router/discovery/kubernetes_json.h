// The few things that everything which reads Kubernetes' JSON needs.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"

namespace pingti::router {

// Errors: InvalidArgument, beginning with `what`, for a text that is no JSON object.
absl::StatusOr<boost::json::object> ParseObject(std::string_view what, std::string_view text);

// The text metadata.`name` of an object or a list; empty: it has none.
std::string MetadataText(const boost::json::object& object, std::string_view name);

}  // namespace pingti::router
