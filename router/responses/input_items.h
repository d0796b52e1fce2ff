// The items of a Responses request, turned into the messages of a chat.
//
// Pure functions. Source: the OpenAI API reference, "Create a model response", input. Several items
// can be one turn of the assistant: its reasoning, its words and its function calls become one
// message, which is what chat templates expect.
#pragma once

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"
#include "router/api/ignored_fields.h"

namespace pingti::router {

// `input` is a string or an array of items; `instructions` may be null (none). The messages are in
// the form /v1/chat/completions takes; what a server's own tools did is ignored. Errors:
// InvalidArgument with a param such as "input[2].content[0].type".
absl::StatusOr<boost::json::array> ItemsToMessages(const boost::json::value& input,
                                                   const boost::json::value* instructions,
                                                   IgnoredFields* ignored);

}  // namespace pingti::router
