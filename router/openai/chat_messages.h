// messages, tools and tool_choice: checked, and brought into the form chat templates expect.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"
#include "router/api/ignored_fields.h"

namespace pingti::router {

// Content parts are joined to one string, "developer" becomes "system", content that an assistant
// left out becomes "", and a call's arguments are JSON text.
// Errors: InvalidArgument with a param such as "messages[2].content[0].type".
absl::Status NormalizeMessages(boost::json::value* messages);

// Leaves functions only: other types are tools that this server cannot run and are ignored. Errors:
// as above.
absl::Status NormalizeTools(boost::json::value* tools, IgnoredFields* ignored);

// Notes a tool that is left out by its type, as "tools[web_search]".
void IgnoreTool(std::string_view type, IgnoredFields* ignored);

struct ToolChoice {
  bool use_tools = true;  // false for "none"
  bool forced = false;    // "required" or a named function
  std::string name;       // of the named function
};
// Errors: InvalidArgument for anything else.
absl::StatusOr<ToolChoice> ParseToolChoice(const boost::json::value& choice);

}  // namespace pingti::router
