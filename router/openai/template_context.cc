// See template_context.h.
#include "router/openai/template_context.h"

#include <array>
#include <memory>
#include <string_view>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/api/limits.h"
#include "router/openai/chat_messages.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

constexpr std::array<std::string_view, 4> kReservedTemplateNames = {"messages", "tools",
                                                                    "bos_token", "eos_token"};

absl::Status CheckCombination(const GenerationRequest& request) {
  if (request.require_tool_call && request.grammar.has_value()) {
    return FieldError(request.grammar_field,
                      Concat("'", request.grammar_field,
                             "' and a 'tool_choice' that forces a call exclude each other"));
  }
  if (request.parse_tool_calls && !request.require_tool_call && !request.parallel_tool_calls) {
    return UnsupportedField("parallel_tool_calls",
                            "false only where 'tool_choice' is 'required' or names a tool");
  }
  return absl::OkStatus();
}

size_t LengthOf(const json::object& object, std::string_view field) {
  const json::value* value = object.if_contains(json::string_view(field.data(), field.size()));
  return value != nullptr && value->is_array() ? value->get_array().size() : 0;
}

ChatSize SizeOf(const json::object& body) {
  ChatSize size{.messages = LengthOf(body, "messages"), .tools = LengthOf(body, "tools")};
  if (size.messages == 0) return size;
  for (const json::value& message : body.at("messages").get_array()) {
    if (message.is_object()) size.tool_calls += LengthOf(message.get_object(), "tool_calls");
  }
  return size;
}

}  // namespace

absl::Status ReadTemplateContext(json::object* body, GenerationRequest* request) {
  PINGTI_RETURN_IF_ERROR(CheckLimits(SizeOf(*body)));
  auto context = std::make_shared<json::object>();
  if (json::value* kwargs = body->if_contains("chat_template_kwargs")) {
    if (!kwargs->is_object()) return WrongType("chat_template_kwargs", *kwargs, "an object");
    *context = std::move(kwargs->get_object());
    for (const std::string_view name : kReservedTemplateNames) {
      if (!context->contains(json::string_view(name.data(), name.size()))) continue;
      const std::string field = Concat("chat_template_kwargs.", name);
      return FieldError(field, Concat("'", field, "' cannot be set: the request itself sets it"));
    }
  }
  json::value* messages = body->if_contains("messages");
  if (messages == nullptr) {
    return MissingField("messages");
  }
  PINGTI_RETURN_IF_ERROR(NormalizeMessages(messages));
  (*context)["messages"] = std::move(*messages);
  ToolChoice choice;
  json::value* tools = body->if_contains("tools");
  if (const json::value* value = body->if_contains("tool_choice")) {
    PINGTI_ASSIGN_OR_RETURN(choice, ParseToolChoice(*value));
    const bool none = tools == nullptr || (tools->is_array() && tools->get_array().empty());
    if (tools == nullptr ? choice.use_tools : none && choice.forced) {
      return FieldError("tool_choice", "'tool_choice' is only allowed when 'tools' are specified.");
    }
  }
  if (tools != nullptr) {
    PINGTI_RETURN_IF_ERROR(CheckTools(*tools, choice.forced));
    if (choice.use_tools && !tools->get_array().empty()) {
      (*context)["tools"] = std::move(*tools);
      request->parse_tool_calls = !request->grammar.has_value();
      request->require_tool_call = choice.forced;
      request->named_tool = std::move(choice.name);
    }
  }
  PINGTI_RETURN_IF_ERROR(CheckCombination(*request));
  request->template_context = std::move(context);
  return absl::OkStatus();
}

}  // namespace pingti::router
