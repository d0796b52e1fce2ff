// tools and tool_choice: checked, and brought into the form that chat templates expect.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"
#include "router/api/ignored_fields.h"

namespace pingti::router {

// Leaves functions only. A tool of type "custom", which takes a text, becomes a function with the
// argument "input", which its "format" constrains, and its name is added to `custom_tools`. Other
// types are tools that this server cannot run: they are ignored. Errors: InvalidArgument with a
// param such as "tools[2].function.name".
absl::Status NormalizeTools(boost::json::value* tools, std::vector<std::string>* custom_tools,
                            IgnoredFields* ignored);

// Notes a tool that is left out by its type, as "tools[web_search]".
void IgnoreTool(std::string_view type, IgnoredFields* ignored);

struct ToolChoice {
  bool use_tools = true;  // false for "none"
  bool forced = false;    // "required" or a named tool
  std::string name{};     // of the named tool
  // "allowed_tools": the names of those that may be called. Nothing: all may be.
  std::optional<std::vector<std::string>> allowed{};
};
// Errors: InvalidArgument for anything else.
absl::StatusOr<ToolChoice> ParseToolChoice(const boost::json::value& choice);
// Leaves those of the tools that `choice` allows. Errors: InvalidArgument for a name of none.
absl::Status KeepAllowedTools(const ToolChoice& choice, boost::json::array* tools);

}  // namespace pingti::router
