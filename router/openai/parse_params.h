// The fields beside prompt and messages. Included only by .cc files of the API folders.
#pragma once

#include "absl/status/status.h"
#include "boost/json/fwd.hpp"
#include "router/api/request.h"

namespace pingti::router {

// Read the members of a body that holds used fields only (see router/api/request_fields.h); others
// of this folder read its prompt, messages and tools. Errors: InvalidArgument naming the first bad
// field.
absl::Status ReadChatParams(const boost::json::object& body, GenerationRequest* request);
absl::Status ReadCompletionParams(const boost::json::object& body, GenerationRequest* request);

}  // namespace pingti::router
