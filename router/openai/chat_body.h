// The pieces of a chat body in OpenAI's words, for what is rewritten into one: the other HTTP APIs
// and gRPC. Included only by .cc files.
#pragma once

#include <string_view>
#include <utility>

#include "boost/json.hpp"

namespace pingti::router {

// An element of "tools". `function`: name, description, parameters.
inline boost::json::object FunctionTool(boost::json::object function) {
  return {{"type", "function"}, {"function", std::move(function)}};
}

// "tool_choice" that names a tool.
inline boost::json::object NamedToolChoice(std::string_view name) {
  return FunctionTool({{"name", boost::json::string(name)}});
}

// An element of a message's "tool_calls"; `arguments` is JSON text.
inline boost::json::object FunctionCall(std::string_view id, std::string_view name,
                                        std::string_view arguments) {
  return {{"id", boost::json::string(id)},
          {"type", "function"},
          {"function", boost::json::object{{"name", boost::json::string(name)},
                                           {"arguments", boost::json::string(arguments)}}}};
}

// The same for a tool that takes a text.
inline boost::json::object CustomCall(std::string_view id, std::string_view name,
                                      std::string_view input) {
  const boost::json::object arguments{{"input", boost::json::string(input)}};
  return FunctionCall(id, name, boost::json::serialize(arguments));
}

}  // namespace pingti::router
