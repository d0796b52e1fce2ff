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
#include "router/openai/chat_tools.h"
#include "router/openai/thinking.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

constexpr std::array<std::string_view, 4> kReservedTemplateNames = {"messages", "tools",
                                                                    "bos_token", "eos_token"};

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

absl::Status ReadKwargs(json::object* body, json::object* context) {
  json::value* kwargs = body->if_contains("chat_template_kwargs");
  if (kwargs == nullptr) return absl::OkStatus();
  if (!kwargs->is_object()) return WrongType("chat_template_kwargs", *kwargs, "an object");
  *context = std::move(kwargs->get_object());
  for (const std::string_view name : kReservedTemplateNames) {
    if (!context->contains(json::string_view(name.data(), name.size()))) continue;
    const std::string field = Concat("chat_template_kwargs.", name);
    return FieldError(field, Concat("'", field, "' cannot be set: the request itself sets it"));
  }
  return absl::OkStatus();
}

absl::Status ReadTools(json::object* body, json::object* context, GenerationRequest* request,
                       IgnoredFields* ignored) {
  ToolChoice choice;
  if (const json::value* value = body->if_contains("tool_choice")) {
    PINGTI_ASSIGN_OR_RETURN(choice, ParseToolChoice(*value));
  }
  json::value* tools = body->if_contains("tools");
  if (tools != nullptr) {
    PINGTI_RETURN_IF_ERROR(NormalizeTools(tools, &request->custom_tools, ignored));
    PINGTI_RETURN_IF_ERROR(KeepAllowedTools(choice, &tools->get_array()));
  }
  const bool has_none = tools == nullptr || tools->get_array().empty();
  if (has_none && choice.forced) {
    return FieldError("tool_choice", "'tool_choice' is only allowed when 'tools' are specified.");
  }
  if (has_none || !choice.use_tools) return absl::OkStatus();
  if (choice.forced && request->grammar.has_value()) {
    return FieldError(request->grammar_field,
                      Concat("'", request->grammar_field,
                             "' and a 'tool_choice' that forces a call exclude each other"));
  }
  for (const json::value& tool : tools->get_array()) {
    const json::value* strict = tool.at("function").get_object().if_contains("strict");
    request->strict_tools = request->strict_tools || (strict != nullptr && *strict == true);
  }
  (*context)["tools"] = std::move(*tools);
  request->parse_tool_calls = true;
  request->require_tool_call = choice.forced;
  request->named_tool = std::move(choice.name);
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadTemplateContext(json::object* body, GenerationRequest* request,
                                 IgnoredFields* ignored) {
  PINGTI_RETURN_IF_ERROR(CheckLimits(SizeOf(*body)));
  auto context = std::make_shared<json::object>();
  PINGTI_RETURN_IF_ERROR(ReadKwargs(body, context.get()));
  PINGTI_RETURN_IF_ERROR(ReadThinking(*body, context.get(), request));
  if (const json::value* opens = body->if_contains("add_generation_prompt")) {
    bool is_opened = true;
    PINGTI_RETURN_IF_ERROR(ReadBool("add_generation_prompt", *opens, &is_opened));
    (*context)["add_generation_prompt"] = is_opened;
  }
  json::value* messages = body->if_contains("messages");
  if (messages == nullptr) return MissingField("messages");
  PINGTI_RETURN_IF_ERROR(NormalizeMessages(messages));
  (*context)["messages"] = std::move(*messages);
  PINGTI_RETURN_IF_ERROR(ReadTools(body, context.get(), request, ignored));
  request->template_context = std::move(context);
  return absl::OkStatus();
}

}  // namespace pingti::router
