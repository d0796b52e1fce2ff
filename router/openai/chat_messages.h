// messages, tools and tool_choice: checked, and brought into the form chat templates expect.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"

namespace pingti::router {

// Content parts are joined to one string, "developer" becomes "system", null content becomes "".
// Errors: InvalidArgument with a param such as "messages[2].content[0].type".
absl::Status NormalizeMessages(boost::json::value* messages);

// Only functions; `strict` ones only where a call is forced, because only then it follows its
// schema. Errors: as above.
absl::Status CheckTools(const boost::json::value& tools, bool calls_forced);

struct ToolChoice {
  bool use_tools = true;  // false for "none"
  bool forced = false;    // "required" or a named function
  std::string name;       // of the named function
};
// Errors: InvalidArgument for anything else.
absl::StatusOr<ToolChoice> ParseToolChoice(const boost::json::value& choice);

}  // namespace pingti::router
