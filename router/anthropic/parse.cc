// See parse.h. The body is rewritten into that of a chat, which has the checks of all fields both
// have.
#include "router/anthropic/parse.h"

#include <string>
#include <utility>

#include "boost/json.hpp"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/anthropic/messages.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/api/request_fields.h"
#include "router/openai/chat_body.h"
#include "router/openai/chat_tools.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

// What clients send by default, then and now. Messages look the same in both.
constexpr std::string_view kVersions[] = {"2023-06-01", "2026-10-21"};

constexpr std::string_view kSameFields[] = {"model", "stream",     "temperature", "top_p",
                                            "top_k", "max_tokens", "thinking"};

constexpr FieldName kFieldNames[] = {{"stop", "stop_sequences"},
                                     {"reasoning_effort", "output_config.effort"},
                                     {"response_format.json_schema", "output_config.format"},
                                     {"response_format", "output_config.format"},
                                     {"tools[].function.parameters", "tools[].input_schema"},
                                     {"tools[].function", "tools[]"}};

absl::StatusOr<json::object> ReadTool(const std::string& path, const json::object& tool) {
  PINGTI_RETURN_IF_ERROR(RequireString(path, tool, "name"));
  const json::value* schema = tool.if_contains("input_schema");
  if (schema == nullptr) return MissingField(path + ".input_schema");
  if (!schema->is_object()) return WrongType(path + ".input_schema", *schema, "an object");
  json::object function{{"name", tool.at("name")}, {"parameters", *schema}};
  for (const char* name : {"description", "strict"}) {
    if (const json::value* member = tool.if_contains(name)) function[name] = *member;
  }
  return FunctionTool(std::move(function));
}

// Tools with a type of their own are run by Anthropic's servers or known to its models alone.
absl::Status ReadTools(const json::value& value, json::object* chat, IgnoredFields* ignored) {
  if (!value.is_array()) return WrongType("tools", value, "an array");
  json::array tools;
  for (size_t i = 0; i < value.get_array().size(); ++i) {
    const std::string path = Concat("tools[", i, "]");
    PINGTI_ASSIGN_OR_RETURN(const json::object* given, RequireObject(path, value.get_array()[i]));
    if (given->contains("type")) {
      PINGTI_RETURN_IF_ERROR(RequireString(path, *given, "type"));
      if (TextOf(*given, "type") != "custom") {
        IgnoreTool(TextOf(*given, "type"), ignored);
        continue;
      }
    }
    PINGTI_ASSIGN_OR_RETURN(json::object tool, ReadTool(path, *given));
    tools.push_back(std::move(tool));
  }
  (*chat)["tools"] = std::move(tools);
  return absl::OkStatus();
}

absl::Status ReadToolChoice(const json::value& value, json::object* chat, IgnoredFields*) {
  PINGTI_ASSIGN_OR_RETURN(const json::object* object, RequireObject("tool_choice", value));
  const json::object& choice = *object;
  PINGTI_RETURN_IF_ERROR(RequireString("tool_choice", choice, "type"));
  const std::string_view type = TextOf(choice, "type");
  if (const json::value* single = choice.if_contains("disable_parallel_tool_use")) {
    bool disabled = false;
    PINGTI_RETURN_IF_ERROR(ReadBool("tool_choice.disable_parallel_tool_use", *single, &disabled));
    (*chat)["parallel_tool_calls"] = !disabled;
  }
  if (type == "tool") {
    PINGTI_RETURN_IF_ERROR(RequireString("tool_choice", choice, "name"));
    (*chat)["tool_choice"] = NamedToolChoice(TextOf(choice, "name"));
    return absl::OkStatus();
  }
  if (type != "auto" && type != "any" && type != "none") {
    return WrongValue("tool_choice.type", type, {"auto", "any", "tool", "none"});
  }
  (*chat)["tool_choice"] = type == "any" ? json::string("required") : json::string(type);
  return absl::OkStatus();
}

absl::Status ReadOutputConfig(const json::value& value, json::object* chat, IgnoredFields*) {
  PINGTI_ASSIGN_OR_RETURN(const json::object* config, RequireObject("output_config", value));
  const json::value* effort = config->if_contains("effort");
  if (effort != nullptr) (*chat)["reasoning_effort"] = *effort;
  const json::value* format_value = config->if_contains("format");
  if (format_value == nullptr) return absl::OkStatus();
  const std::string path = "output_config.format";
  PINGTI_ASSIGN_OR_RETURN(const json::object* format, RequireObject(path, *format_value));
  PINGTI_RETURN_IF_ERROR(RequireString(path, *format, "type"));
  const json::value* schema = format->if_contains("schema");
  if (format->at("type") != "json_schema" || schema == nullptr) {
    return UnsupportedField(path, "expected type 'json_schema' with a 'schema'");
  }
  (*chat)["response_format"] = json::object{
      {"type", "json_schema"},
      {"json_schema", json::object{{"name", "answer"}, {"schema", *schema}, {"strict", true}}}};
  return absl::OkStatus();
}

absl::Status ReadMetadata(const json::value& value, json::object* chat, IgnoredFields*) {
  PINGTI_ASSIGN_OR_RETURN(const json::object* object, RequireObject("metadata", value));
  const json::value* user = object->if_contains("user_id");
  if (user == nullptr) return absl::OkStatus();
  if (!user->is_string()) return WrongType("metadata.user_id", *user, "a string");
  (*chat)["user"] = *user;
  return absl::OkStatus();
}

absl::Status ReadStops(const json::value& value, json::object* chat, IgnoredFields*) {
  if (!value.is_array()) return WrongType("stop_sequences", value, "an array of strings");
  (*chat)["stop"] = value;
  return absl::OkStatus();
}

using Reader = absl::Status (*)(const json::value& value, json::object* chat,
                                IgnoredFields* ignored);

constexpr std::pair<const char*, Reader> kReaders[] = {{"tools", &ReadTools},
                                                       {"tool_choice", &ReadToolChoice},
                                                       {"output_config", &ReadOutputConfig},
                                                       {"metadata", &ReadMetadata},
                                                       {"stop_sequences", &ReadStops}};

absl::StatusOr<ParsedRequest> ParseBody(const json::object& body, size_t body_bytes,
                                        IgnoredFields ignored) {
  json::object chat = CopyFields(body, kSameFields);
  for (const auto& [name, read] : kReaders) {
    const json::value* value = body.if_contains(name);
    if (value != nullptr) PINGTI_RETURN_IF_ERROR(read(*value, &chat, &ignored));
  }
  const json::value* turns = body.if_contains("messages");
  if (turns == nullptr) return MissingField("messages");
  PINGTI_ASSIGN_OR_RETURN(chat["messages"],
                          TurnsToMessages(*turns, body.if_contains("system"), &ignored));
  absl::StatusOr<ParsedRequest> parsed =
      ParseChatObject(std::move(chat), body_bytes, std::move(ignored));
  if (!parsed.ok()) return InAnthropicWords(parsed.status());
  return parsed;
}

}  // namespace

absl::Status InAnthropicWords(const absl::Status& status) {
  return RenameFields(status, kFieldNames);
}

absl::StatusOr<ParsedRequest> ParseMessagesRequest(std::string_view text,
                                                   std::string_view version) {
  if (!version.empty() && !IsIn(version, kVersions)) {
    return UnsupportedField("anthropic-version", Concat("'", version, "'; expected '", kVersions[0],
                                                        "' or '", kVersions[1], "'"));
  }
  PINGTI_ASSIGN_OR_RETURN(json::object body, ParseJsonObject(text));
  IgnoredFields ignored;
  PINGTI_RETURN_IF_ERROR(CleanBody(MessagesFields(), &body, &ignored));
  if (!body.contains("max_tokens")) return MissingField("max_tokens");
  return ParseBody(body, text.size(), std::move(ignored));
}

absl::StatusOr<ParsedRequest> ParseCountTokensRequest(std::string_view text) {
  PINGTI_ASSIGN_OR_RETURN(json::object body, ParseJsonObject(text));
  IgnoredFields ignored;
  PINGTI_RETURN_IF_ERROR(CleanBody(CountTokensFields(), &body, &ignored));
  return ParseBody(body, text.size(), std::move(ignored));
}

}  // namespace pingti::router
