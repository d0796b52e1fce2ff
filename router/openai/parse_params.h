// The fields beside prompt and messages. Included only by this folder's .cc files.
#pragma once

#include "absl/status/status.h"
#include "boost/json/fwd.hpp"
#include "router/api/request.h"

namespace pingti::router {

// Read every member of `body` through the endpoint's table: each is supported, refused with a
// reason, or unknown. Null members must be gone. Errors: InvalidArgument naming the first bad
// field.
absl::Status ReadChatParams(const boost::json::object& body, GenerationRequest* request);
absl::Status ReadCompletionParams(const boost::json::object& body, GenerationRequest* request);

}  // namespace pingti::router
