// What a chat template sees of a request: messages, tools and chat_template_kwargs.
#pragma once

#include "absl/status/status.h"
#include "boost/json/fwd.hpp"
#include "router/api/ignored_fields.h"
#include "router/api/request.h"

namespace pingti::router {

// Reads messages, tools, tool_choice and what else a template sees of a body in OpenAI's form that
// has used fields only, and sets template_context and how calls and thoughts are dealt with. Takes
// its parts out of `body`. Errors: InvalidArgument naming the field.
absl::Status ReadTemplateContext(boost::json::object* body, GenerationRequest* request,
                                 IgnoredFields* ignored);

}  // namespace pingti::router
