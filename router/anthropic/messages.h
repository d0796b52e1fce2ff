// The turns of a Messages request, turned into the messages of a chat.
//
// Pure functions. Source: Anthropic's API reference, "Create a message". A user's tool results
// become messages of their own, before the user's words; an assistant's thinking, words and calls
// stay one message. Turns of one role that follow each other are one.
#pragma once

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"
#include "router/api/ignored_fields.h"

namespace pingti::router {

// `system` may be null (none). What tools of Anthropic's servers did is ignored. Errors:
// InvalidArgument with a param such as "messages[2].content[0].type".
absl::StatusOr<boost::json::array> TurnsToMessages(const boost::json::value& turns,
                                                   const boost::json::value* system,
                                                   IgnoredFields* ignored);

}  // namespace pingti::router
