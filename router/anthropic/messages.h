// The turns of a Messages request, turned into the messages of a chat.
//
// Pure functions. Source: Anthropic's API reference, "Create a message". A user's tool results
// become messages of their own, before the user's words; an assistant's thinking, words and calls
// stay one message.
#pragma once

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"

namespace pingti::router {

// `system` may be null (none). Errors: InvalidArgument with a param such as
// "messages[2].content[0].type".
absl::StatusOr<boost::json::array> TurnsToMessages(const boost::json::value& turns,
                                                   const boost::json::value* system);

// "cache_control" asks for what the router does anyway: prefixes are cached without a mark. Only
// its form is checked. Errors: InvalidArgument.
absl::Status CheckCacheControl(const std::string& path, const boost::json::object& object);

}  // namespace pingti::router
