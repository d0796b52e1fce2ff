// See chat_messages.h.
#include "router/openai/chat_messages.h"

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

constexpr std::array<std::string_view, 8> kMessageFields = {
    "role",       "content",      "name", "refusal", "reasoning_content",
    "tool_calls", "tool_call_id", "audio"};
constexpr std::array<std::string_view, 2> kPartFields = {"type", "text"};
constexpr std::array<std::string_view, 4> kCallFields = {"id", "type", "function", "index"};
constexpr std::array<std::string_view, 2> kCallFunctionFields = {"name", "arguments"};
constexpr std::array<std::string_view, 2> kToolFields = {"type", "function"};
constexpr std::array<std::string_view, 4> kFunctionFields = {"name", "description", "parameters",
                                                             "strict"};

absl::StatusOr<std::string_view> ReadTextPart(const std::string& path, std::string_view type,
                                              const json::object& part) {
  if (type != "text") {
    return UnsupportedField(path + ".type",
                            Concat("content part '", type, "'; only 'text' parts are taken"));
  }
  PINGTI_RETURN_IF_ERROR(RefuseUnknown(path, part, kPartFields));
  PINGTI_RETURN_IF_ERROR(RequireString(path, part, "text"));
  return TextOf(part, "text");
}

absl::Status CheckToolCalls(const std::string& field, const json::value& calls) {
  if (!calls.is_array()) return WrongType(field, calls, "an array");
  for (size_t i = 0; i < calls.get_array().size(); ++i) {
    const std::string path = Concat(field, "[", i, "]");
    PINGTI_ASSIGN_OR_RETURN(const json::object* object, RequireObject(path, calls.get_array()[i]));
    const json::object& call = *object;
    PINGTI_RETURN_IF_ERROR(RefuseUnknown(path, call, kCallFields));
    PINGTI_RETURN_IF_ERROR(RequireString(path, call, "id"));
    PINGTI_RETURN_IF_ERROR(RequireString(path, call, "type"));
    if (TextOf(call, "type") != "function") {
      return UnsupportedField(path + ".type", "only 'function' calls are taken");
    }
    const json::value* function = call.if_contains("function");
    if (function == nullptr) return MissingField(path + ".function");
    PINGTI_ASSIGN_OR_RETURN(const json::object* named,
                            RequireObject(path + ".function", *function));
    PINGTI_RETURN_IF_ERROR(RefuseUnknown(path + ".function", *named, kCallFunctionFields));
    PINGTI_RETURN_IF_ERROR(RequireString(path + ".function", *named, "name"));
    PINGTI_RETURN_IF_ERROR(RequireString(path + ".function", *named, "arguments"));
  }
  return absl::OkStatus();
}

absl::Status NormalizeContent(const std::string& path, std::string_view role,
                              json::object* message) {
  json::value* content = message->if_contains("content");
  if (content == nullptr || content->is_null()) {
    // Only an assistant's turn may be without words: it called tools.
    const bool may_be_absent = role == "assistant" && message->contains("tool_calls");
    if (!may_be_absent) return MissingField(path + ".content");
    (*message)["content"] = "";
    return absl::OkStatus();
  }
  if (content->is_string()) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(const std::string text,
                          JoinText(path + ".content", *content, &ReadTextPart));
  *content = json::string(text);
  return absl::OkStatus();
}

// Members that only some roles have; null counts as absent and is removed.
absl::Status CheckOptionalMembers(const std::string& path, std::string_view role,
                                  json::object* message) {
  for (const char* name :
       {"name", "refusal", "reasoning_content", "tool_calls", "tool_call_id", "audio"}) {
    const json::value* value = message->if_contains(name);
    if (value == nullptr) continue;
    if (value->is_null()) {
      message->erase(name);
      continue;
    }
    const std::string field = Concat(path, ".", std::string_view(name));
    const std::string_view member = name;
    if (member == "audio" || member == "refusal") {
      return UnsupportedField(field, "this router serves text only");
    }
    if (member == "tool_calls") {
      if (role != "assistant") return FieldError(field, "'tool_calls' needs role 'assistant'");
      PINGTI_RETURN_IF_ERROR(CheckToolCalls(field, *value));
      continue;
    }
    std::string text;
    PINGTI_RETURN_IF_ERROR(ReadString(field, *value, &text));
  }
  return absl::OkStatus();
}

absl::Status NormalizeMessage(const std::string& path, json::value* value) {
  if (!value->is_object()) return WrongType(path, *value, "an object");
  json::object& message = value->get_object();
  PINGTI_RETURN_IF_ERROR(RequireString(path, message, "role"));
  const std::string role(TextOf(message, "role"));
  if (role == "function") {
    return UnsupportedField(path + ".role", "'function' is deprecated; use role 'tool'");
  }
  if (role != "system" && role != "developer" && role != "user" && role != "assistant" &&
      role != "tool") {
    return WrongValue(path + ".role", role, {"system", "developer", "user", "assistant", "tool"});
  }
  PINGTI_RETURN_IF_ERROR(RefuseUnknown(path, message, kMessageFields));
  PINGTI_RETURN_IF_ERROR(CheckOptionalMembers(path, role, &message));
  PINGTI_RETURN_IF_ERROR(NormalizeContent(path, role, &message));
  if (role == "tool") PINGTI_RETURN_IF_ERROR(RequireString(path, message, "tool_call_id"));
  if (role == "developer") message["role"] = "system";
  return absl::OkStatus();
}

}  // namespace

absl::Status NormalizeMessages(json::value* messages) {
  if (!messages->is_array()) return WrongType("messages", *messages, "an array");
  json::array& list = messages->get_array();
  if (list.empty()) {
    return ApiError(absl::StatusCode::kInvalidArgument,
                    "Invalid 'messages': empty array. Expected at least one message.", "messages",
                    "empty_array");
  }
  for (size_t i = 0; i < list.size(); ++i) {
    PINGTI_RETURN_IF_ERROR(NormalizeMessage(Concat("messages[", i, "]"), &list[i]));
  }
  return absl::OkStatus();
}

absl::Status CheckTools(const json::value& tools, bool calls_forced) {
  if (!tools.is_array()) return WrongType("tools", tools, "an array");
  const auto check_tool = [calls_forced](const std::string& path, std::string_view type,
                                         const json::object& tool) -> absl::Status {
    if (type != "function") {
      return UnsupportedField(path + ".type", "only 'function' tools are taken");
    }
    PINGTI_RETURN_IF_ERROR(RefuseUnknown(path, tool, kToolFields));
    const json::value* function = tool.if_contains("function");
    if (function == nullptr) return MissingField(path + ".function");
    PINGTI_ASSIGN_OR_RETURN(const json::object* object,
                            RequireObject(path + ".function", *function));
    const json::object& members = *object;
    PINGTI_RETURN_IF_ERROR(RefuseUnknown(path + ".function", members, kFunctionFields));
    PINGTI_RETURN_IF_ERROR(RequireString(path + ".function", members, "name"));
    const json::value* parameters = members.if_contains("parameters");
    if (parameters != nullptr && !parameters->is_object()) {
      return WrongType(path + ".function.parameters", *parameters, "an object");
    }
    if (const json::value* description = members.if_contains("description")) {
      if (!description->is_string() && !description->is_null()) {
        return WrongType(path + ".function.description", *description, "a string");
      }
    }
    const json::value* strict = members.if_contains("strict");
    if (strict != nullptr && !strict->is_bool() && !strict->is_null()) {
      return WrongType(path + ".function.strict", *strict, "a boolean");
    }
    if (!calls_forced && strict != nullptr && strict->is_bool() && strict->get_bool()) {
      return UnsupportedField(path + ".function.strict",
                              "only where 'tool_choice' is 'required' or names a tool");
    }
    return absl::OkStatus();
  };
  return ForEachPart("tools", tools.get_array(), check_tool);
}

absl::StatusOr<ToolChoice> ParseToolChoice(const json::value& choice) {
  ToolChoice parsed;
  if (choice.is_object()) {
    static constexpr std::array<std::string_view, 2> kKnown = {"type", "function"};
    static constexpr std::array<std::string_view, 1> kFunctionKnown = {"name"};
    const json::object& named = choice.get_object();
    PINGTI_RETURN_IF_ERROR(RequireString("tool_choice", named, "type"));
    if (named.at("type") != "function") {
      return UnsupportedField("tool_choice.type",
                              Concat("'", TextOf(named, "type"), "'; expected 'function'"));
    }
    PINGTI_RETURN_IF_ERROR(RefuseUnknown("tool_choice", named, kKnown));
    const json::value* function = named.if_contains("function");
    if (function == nullptr) return MissingField("tool_choice.function");
    PINGTI_ASSIGN_OR_RETURN(const json::object* object,
                            RequireObject("tool_choice.function", *function));
    PINGTI_RETURN_IF_ERROR(RefuseUnknown("tool_choice.function", *object, kFunctionKnown));
    PINGTI_RETURN_IF_ERROR(RequireString("tool_choice.function", *object, "name"));
    parsed.forced = true;
    parsed.name = TextOf(*object, "name");
    return parsed;
  }
  if (!choice.is_string()) return WrongType("tool_choice", choice, "a string or an object");
  const std::string_view value = View(choice.get_string());
  parsed.use_tools = value != "none";
  parsed.forced = value == "required";
  if (value == "auto" || value == "none" || value == "required") return parsed;
  return WrongValue("tool_choice", value, {"none", "auto", "required"});
}

}  // namespace pingti::router
