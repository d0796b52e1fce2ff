// What a chat template sees of a request: messages, tools and chat_template_kwargs.
#pragma once

#include "absl/status/status.h"
#include "boost/json/fwd.hpp"
#include "router/api/request.h"

namespace pingti::router {

// Reads "messages", "tools", "tool_choice" and "chat_template_kwargs" of a body in OpenAI's form
// and sets template_context and parse_tool_calls. Takes its parts out of `body`. Errors:
// InvalidArgument naming the field.
absl::Status ReadTemplateContext(boost::json::object* body, GenerationRequest* request);

}  // namespace pingti::router
