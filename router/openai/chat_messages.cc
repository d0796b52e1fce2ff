// See chat_messages.h.
#include "router/openai/chat_messages.h"

#include <string>
#include <string_view>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/openai/chat_body.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

absl::StatusOr<std::string_view> ReadTextPart(const std::string& path, std::string_view type,
                                              const json::object& part) {
  // An assistant's refusal is what it said.
  const char* member = type == "refusal" ? "refusal" : "text";
  if (type != member) {
    return UnsupportedField(path + ".type",
                            Concat("content part '", type, "'; only 'text' parts are taken"));
  }
  PINGTI_RETURN_IF_ERROR(RequireString(path, part, member));
  return TextOf(part, member);
}

// A call's arguments are JSON text in a request, whatever form they were sent in: "" and nothing
// are no arguments, and an object is written down.
absl::Status NormalizeArguments(const std::string& path, json::object* function) {
  json::value& arguments = (*function)["arguments"];
  if (arguments.is_null()) arguments = "{}";
  if (arguments.is_object()) arguments = json::string(json::serialize(arguments));
  if (!arguments.is_string()) return WrongType(path + ".arguments", arguments, "a string");
  if (arguments.get_string().empty()) arguments = "{}";
  return absl::OkStatus();
}

// A call of a tool that takes a text is one with that text as an argument.
absl::Status NormalizeCustomCall(const std::string& path, json::object* call) {
  const std::string inner = path + ".custom";
  const json::value* custom = call->if_contains("custom");
  if (custom == nullptr) return MissingField(inner);
  PINGTI_ASSIGN_OR_RETURN(const json::object* members, RequireObject(inner, *custom));
  PINGTI_RETURN_IF_ERROR(RequireString(inner, *members, "name"));
  PINGTI_RETURN_IF_ERROR(RequireString(inner, *members, "input"));
  *call = CustomCall(TextOf(*call, "id"), TextOf(*members, "name"), TextOf(*members, "input"));
  return absl::OkStatus();
}

absl::Status NormalizeToolCall(const std::string& path, json::value* value) {
  if (!value->is_object()) return WrongType(path, *value, "an object");
  json::object& call = value->get_object();
  PINGTI_RETURN_IF_ERROR(RequireString(path, call, "id"));
  if (!call.contains("type")) call["type"] = "function";
  PINGTI_RETURN_IF_ERROR(RequireString(path, call, "type"));
  if (TextOf(call, "type") == "custom") return NormalizeCustomCall(path, &call);
  if (TextOf(call, "type") != "function") {
    return UnsupportedField(path + ".type", "only 'function' and 'custom' calls are taken");
  }
  json::value* function = call.if_contains("function");
  if (function == nullptr) return MissingField(path + ".function");
  PINGTI_RETURN_IF_ERROR(RequireObject(path + ".function", *function).status());
  PINGTI_RETURN_IF_ERROR(RequireString(path + ".function", function->get_object(), "name"));
  return NormalizeArguments(path + ".function", &function->get_object());
}

absl::Status NormalizeToolCalls(const std::string& field, json::value* calls) {
  if (!calls->is_array()) return WrongType(field, *calls, "an array");
  json::array& list = calls->get_array();
  for (size_t i = 0; i < list.size(); ++i) {
    PINGTI_RETURN_IF_ERROR(NormalizeToolCall(Concat(field, "[", i, "]"), &list[i]));
  }
  return absl::OkStatus();
}

absl::Status NormalizeContent(const std::string& path, std::string_view role,
                              json::object* message) {
  json::value* content = message->if_contains("content");
  if (content == nullptr) {
    // Only an assistant's turn may be without words: it called tools, or only thought.
    if (role != "assistant") return MissingField(path + ".content");
    (*message)["content"] = "";
    return absl::OkStatus();
  }
  if (content->is_string()) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(const std::string text,
                          JoinText(path + ".content", *content, &ReadTextPart));
  *content = json::string(text);
  return absl::OkStatus();
}

absl::Status NormalizeOptionalMembers(const std::string& path, std::string_view role,
                                      json::object* message) {
  // vLLM's name for it.
  if (const json::value* reasoning = message->if_contains("reasoning")) {
    message->emplace("reasoning_content", *reasoning);
    message->erase("reasoning");
  }
  for (const char* name : {"name", "reasoning_content", "tool_call_id"}) {
    const json::value* value = message->if_contains(name);
    std::string text;
    if (value == nullptr) continue;
    PINGTI_RETURN_IF_ERROR(ReadString(Concat(path, ".", std::string_view(name)), *value, &text));
  }
  json::value* calls = message->if_contains("tool_calls");
  if (calls == nullptr) return absl::OkStatus();
  const std::string field = path + ".tool_calls";
  if (role != "assistant") return FieldError(field, "'tool_calls' needs role 'assistant'");
  PINGTI_RETURN_IF_ERROR(NormalizeToolCalls(field, calls));
  // Templates ask whether there is the member, not whether it is empty.
  if (calls->get_array().empty()) message->erase("tool_calls");
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
  PINGTI_RETURN_IF_ERROR(NormalizeOptionalMembers(path, role, &message));
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

}  // namespace pingti::router
