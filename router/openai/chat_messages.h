// messages: checked, and brought into the form that chat templates expect.
#pragma once

#include "absl/status/status.h"
#include "boost/json/fwd.hpp"

namespace pingti::router {

// Content parts are joined to one string, "developer" becomes "system", content that an assistant
// left out becomes "", a call's arguments are JSON text, and a call of a custom tool is one with
// the argument "input". Errors: InvalidArgument with a param such as "messages[2].content[0].type".
absl::Status NormalizeMessages(boost::json::value* messages);

}  // namespace pingti::router
