// See parse.h. The body is rewritten into that of a chat, which has the checks of all fields both
// have.
#include "router/anthropic/parse.h"

#include <array>
#include <string>
#include <utility>

#include "boost/json.hpp"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/anthropic/messages.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/openai/chat_body.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

// What clients send by default, then and now. Messages look the same in both.
constexpr std::string_view kVersions[] = {"2023-06-01", "2026-10-21"};

constexpr std::string_view kSameFields[] = {"model", "stream", "temperature",
                                            "top_p", "top_k",  "max_tokens"};
constexpr std::string_view kReadHere[] = {
    "messages", "system",   "tools",         "tool_choice",  "stop_sequences",
    "metadata", "thinking", "output_config", "service_tier", "cache_control"};
constexpr std::string_view kForCounting[] = {"model",         "messages",     "system",
                                             "tools",         "tool_choice",  "thinking",
                                             "cache_control", "output_config"};

constexpr Refusal kRefusals[] = {
    {"container", "there is no code execution"},
    {"context_management", "the conversation is taken as it is sent"},
    {"diagnostics", "there are none"},
    {"inference_geo", "the model runs where this router runs"},
    {"mcp_servers", "tools are called by the client"},
    {"prefill", "an assistant's words are not continued"},
    {"speed", "there is one speed"},
};

constexpr FieldName kFieldNames[] = {{"stop", "stop_sequences"},
                                     {"response_format.json_schema", "output_config.format"},
                                     {"response_format", "output_config.format"},
                                     {"tools[].function.parameters", "tools[].input_schema"},
                                     {"tools[].function", "tools[]"}};

absl::Status Unrecognized(std::string_view name) {
  return ApiError(absl::StatusCode::kInvalidArgument,
                  Concat(name, ": Extra inputs are not permitted"), name, "unknown_parameter");
}

constexpr BodyFields kFields = {kSameFields, kReadHere, kRefusals};

absl::StatusOr<json::object> ReadTool(const std::string& path, const json::value& value) {
  static constexpr std::array<std::string_view, 6> kKnown = {
      "type", "name", "description", "input_schema", "cache_control", "strict"};
  PINGTI_ASSIGN_OR_RETURN(const json::object* given, RequireObject(path, value));
  json::object tool = *given;
  DropNulls(&tool);
  if (const json::value* type = tool.if_contains("type")) {
    if (*type != "custom") {
      return UnsupportedField(path + ".type",
                              Concat(json::serialize(*type), "; expected 'custom'"));
    }
  }
  PINGTI_RETURN_IF_ERROR(RefuseUnknown(path, tool, kKnown));
  PINGTI_RETURN_IF_ERROR(CheckCacheControl(path, tool));
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

absl::Status ReadTools(const json::value& value, json::object* chat) {
  if (!value.is_array()) return WrongType("tools", value, "an array");
  json::array tools;
  for (size_t i = 0; i < value.get_array().size(); ++i) {
    PINGTI_ASSIGN_OR_RETURN(json::object tool,
                            ReadTool(Concat("tools[", i, "]"), value.get_array()[i]));
    tools.push_back(std::move(tool));
  }
  (*chat)["tools"] = std::move(tools);
  return absl::OkStatus();
}

absl::Status ReadToolChoice(const json::value& value, json::object* chat) {
  static constexpr std::array<std::string_view, 3> kKnown = {"type", "name",
                                                             "disable_parallel_tool_use"};
  PINGTI_ASSIGN_OR_RETURN(const json::object* object, RequireObject("tool_choice", value));
  const json::object& choice = *object;
  PINGTI_RETURN_IF_ERROR(RefuseUnknown("tool_choice", choice, kKnown));
  PINGTI_RETURN_IF_ERROR(RequireString("tool_choice", choice, "type"));
  const std::string_view type = TextOf(choice, "type");
  if (const json::value* single = choice.if_contains("disable_parallel_tool_use")) {
    static constexpr char kName[] = "tool_choice.disable_parallel_tool_use";
    bool disabled = false;
    PINGTI_RETURN_IF_ERROR(ReadBool(kName, *single, &disabled));
    if (disabled && type == "auto") {
      return UnsupportedField(kName, "true only with the types 'any' and 'tool'");
    }
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

// The switch that templates of models with and without thinking have in common.
absl::Status ReadThinking(const json::value& value, json::object* chat) {
  static constexpr std::array<std::string_view, 3> kKnown = {"type", "budget_tokens", "display"};
  PINGTI_ASSIGN_OR_RETURN(const json::object* object, RequireObject("thinking", value));
  const json::object& thinking = *object;
  PINGTI_RETURN_IF_ERROR(RefuseUnknown("thinking", thinking, kKnown));
  PINGTI_RETURN_IF_ERROR(RequireString("thinking", thinking, "type"));
  const std::string_view type = TextOf(thinking, "type");
  if (const json::value* display = thinking.if_contains("display")) {
    if (*display != "summarized" && !display->is_null()) {
      return UnsupportedField("thinking.display", "thoughts are always shown");
    }
  }
  if (type == "enabled" || thinking.contains("budget_tokens")) {
    return UnsupportedField("thinking.budget_tokens",
                            "the model decides how long it thinks; expected type 'adaptive'");
  }
  if (type != "adaptive" && type != "disabled") {
    return WrongValue("thinking.type", type, {"adaptive", "disabled"});
  }
  (*chat)["chat_template_kwargs"] = json::object{{"enable_thinking", type == "adaptive"}};
  return absl::OkStatus();
}

absl::Status ReadOutputConfig(const json::value& value, json::object* chat) {
  static constexpr std::array<std::string_view, 2> kKnown = {"format", "effort"};
  static constexpr std::array<std::string_view, 2> kFormatFields = {"type", "schema"};
  PINGTI_ASSIGN_OR_RETURN(const json::object* given, RequireObject("output_config", value));
  json::object config = *given;
  DropNulls(&config);
  PINGTI_RETURN_IF_ERROR(RefuseUnknown("output_config", config, kKnown));
  if (config.contains("effort")) {
    return UnsupportedField("output_config.effort", "the model has no such switch");
  }
  const json::value* format_value = config.if_contains("format");
  if (format_value == nullptr) return absl::OkStatus();
  const std::string path = "output_config.format";
  PINGTI_ASSIGN_OR_RETURN(const json::object* object, RequireObject(path, *format_value));
  const json::object& format = *object;
  PINGTI_RETURN_IF_ERROR(RefuseUnknown(path, format, kFormatFields));
  PINGTI_RETURN_IF_ERROR(RequireString(path, format, "type"));
  const json::value* schema = format.if_contains("schema");
  if (format.at("type") != "json_schema" || schema == nullptr) {
    return UnsupportedField(path, "expected type 'json_schema' with a 'schema'");
  }
  (*chat)["response_format"] = json::object{
      {"type", "json_schema"},
      {"json_schema", json::object{{"name", "answer"}, {"schema", *schema}, {"strict", true}}}};
  return absl::OkStatus();
}

absl::Status ReadMetadata(const json::value& value, json::object* chat) {
  static constexpr std::array<std::string_view, 1> kKnown = {"user_id"};
  PINGTI_ASSIGN_OR_RETURN(const json::object* object, RequireObject("metadata", value));
  PINGTI_RETURN_IF_ERROR(RefuseUnknown("metadata", *object, kKnown));
  const json::value* user = Member(*object, "user_id");
  if (user == nullptr) return absl::OkStatus();
  if (!user->is_string()) return WrongType("metadata.user_id", *user, "a string");
  (*chat)["user"] = *user;
  return absl::OkStatus();
}

using Reader = absl::Status (*)(const json::value& value, json::object* chat);

absl::Status ReadServiceTier(const json::value& value, json::object*) {
  if (value == "auto" || value == "standard_only") return absl::OkStatus();
  return UnsupportedField("service_tier", "expected 'auto' or 'standard_only'");
}

absl::Status ReadStops(const json::value& value, json::object* chat) {
  if (!value.is_array()) return WrongType("stop_sequences", value, "an array of strings");
  (*chat)["stop"] = value;
  return absl::OkStatus();
}

constexpr std::pair<const char*, Reader> kReaders[] = {
    {"tools", &ReadTools},          {"tool_choice", &ReadToolChoice},
    {"thinking", &ReadThinking},    {"output_config", &ReadOutputConfig},
    {"metadata", &ReadMetadata},    {"service_tier", &ReadServiceTier},
    {"stop_sequences", &ReadStops},
};

absl::StatusOr<ParsedRequest> ParseBody(const json::object& body, size_t body_bytes) {
  PINGTI_RETURN_IF_ERROR(CheckCacheControl("", body));
  json::object chat = CopyFields(body, kSameFields);
  for (const auto& [name, read] : kReaders) {
    const json::value* value = body.if_contains(name);
    if (value != nullptr) PINGTI_RETURN_IF_ERROR(read(*value, &chat));
  }
  const json::value* turns = body.if_contains("messages");
  if (turns == nullptr) return MissingField("messages");
  PINGTI_ASSIGN_OR_RETURN(chat["messages"], TurnsToMessages(*turns, body.if_contains("system")));
  absl::StatusOr<ParsedRequest> parsed = ParseChatObject(std::move(chat), body_bytes);
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
  DropNulls(&body);
  PINGTI_ASSIGN_OR_RETURN(const std::string_view unknown, FindUnknown(body, kFields));
  if (!unknown.empty()) return Unrecognized(unknown);
  if (!body.contains("max_tokens")) return MissingField("max_tokens");
  return ParseBody(body, text.size());
}

absl::StatusOr<ParsedRequest> ParseCountTokensRequest(std::string_view text) {
  PINGTI_ASSIGN_OR_RETURN(json::object body, ParseJsonObject(text));
  DropNulls(&body);
  for (const auto& member : body) {
    if (!IsIn(View(member.key()), kForCounting)) return Unrecognized(View(member.key()));
  }
  return ParseBody(body, text.size());
}

}  // namespace pingti::router
