// messages, tools and tool_choice: checked, and brought into the form chat templates expect.
#pragma once

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"

namespace pingti::router {

// Content parts are joined to one string, "developer" becomes "system", null content becomes "".
// Errors: InvalidArgument with a param such as "messages[2].content[0].type".
absl::Status NormalizeMessages(boost::json::value* messages);

// Only functions. Errors: as above.
absl::Status CheckTools(const boost::json::value& tools);

// True for "auto", false for "none". Errors: InvalidArgument for "required" and a named function.
absl::StatusOr<bool> ParseToolChoice(const boost::json::value& choice);

}  // namespace pingti::router
