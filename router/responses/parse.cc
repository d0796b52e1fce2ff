// See parse.h. The body is rewritten into that of a chat, which has the checks of all fields that
// both have.
#include "router/responses/parse.h"

#include <utility>

#include "boost/json.hpp"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/api/request_fields.h"
#include "router/openai/chat_body.h"
#include "router/openai/chat_tools.h"
#include "router/responses/input_items.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

// Fields with the same name and meaning in a chat: the reference's, then those that pingti adds to
// every API.
constexpr std::string_view kSameFields[] = {"model",
                                            "stream",
                                            "temperature",
                                            "top_p",
                                            "user",
                                            "prompt_cache_key",
                                            "safety_identifier",
                                            "parallel_tool_calls",
                                            "seed",
                                            "stop",
                                            "stop_token_ids",
                                            "top_k",
                                            "min_p",
                                            "presence_penalty",
                                            "frequency_penalty",
                                            "repetition_penalty",
                                            "logit_bias",
                                            "min_tokens",
                                            "ignore_eos",
                                            "speculation",
                                            "priority",
                                            "chat_template_kwargs"};

constexpr FieldName kFieldNames[] = {{"max_completion_tokens", "max_output_tokens"},
                                     {"max_tokens", "max_output_tokens"},
                                     {"response_format.json_schema", "text.format"},
                                     {"response_format", "text.format"},
                                     {"tools[].function", "tools[]"},
                                     {"tools[].custom", "tools[]"},
                                     {"tool_choice.allowed_tools", "tool_choice"},
                                     {"reasoning_effort", "reasoning.effort"},
                                     {"messages", "input"}};

absl::Status ReadTools(const json::value& value, json::object* chat, IgnoredFields* ignored) {
  if (!value.is_array()) return WrongType("tools", value, "an array");
  json::array tools;
  const auto read_tool = [&](const std::string& path, std::string_view type,
                             const json::object& tool) -> absl::Status {
    if (type != "function" && type != "custom") {
      IgnoreTool(type, ignored);
      return absl::OkStatus();
    }
    PINGTI_RETURN_IF_ERROR(RequireString(path, tool, "name"));
    json::object members = tool;
    members.erase("type");
    tools.push_back(json::object{{"type", tool.at("type")},
                                 {tool.at("type").get_string(), std::move(members)}});
    return absl::OkStatus();
  };
  PINGTI_RETURN_IF_ERROR(ForEachPart("tools", value.get_array(), read_tool));
  (*chat)["tools"] = std::move(tools);
  return absl::OkStatus();
}

// {"type": "function" | "custom", "name": ...} with the name where a chat has it.
absl::StatusOr<json::object> ReadNamedTool(const std::string& path, const json::object& choice) {
  PINGTI_RETURN_IF_ERROR(RequireString(path, choice, "type"));
  const json::string& type = choice.at("type").get_string();
  if (type != "function" && type != "custom") {
    return UnsupportedField(path + ".type",
                            Concat("'", View(type), "'; expected 'function' or 'custom'"));
  }
  PINGTI_RETURN_IF_ERROR(RequireString(path, choice, "name"));
  return json::object{{"type", type}, {type, json::object{{"name", choice.at("name")}}}};
}

absl::StatusOr<json::object> ReadAllowedTools(const json::object& choice) {
  const json::value* tools = choice.if_contains("tools");
  if (tools == nullptr) return MissingField("tool_choice.tools");
  if (!tools->is_array()) return WrongType("tool_choice.tools", *tools, "an array");
  json::object allowed = choice;
  json::array& names = allowed["tools"].emplace_array();
  for (size_t i = 0; i < tools->get_array().size(); ++i) {
    const std::string path = Concat("tool_choice.tools[", i, "]");
    PINGTI_ASSIGN_OR_RETURN(const json::object* tool, RequireObject(path, tools->get_array()[i]));
    PINGTI_ASSIGN_OR_RETURN(json::object named, ReadNamedTool(path, *tool));
    names.push_back(std::move(named));
  }
  allowed.erase("type");
  return json::object{{"type", "allowed_tools"}, {"allowed_tools", std::move(allowed)}};
}

absl::Status ReadToolChoice(const json::value& value, json::object* chat) {
  if (!value.is_object()) {
    (*chat)["tool_choice"] = value;
    return absl::OkStatus();
  }
  const json::object& choice = value.get_object();
  PINGTI_RETURN_IF_ERROR(RequireString("tool_choice", choice, "type"));
  if (TextOf(choice, "type") == "allowed_tools") {
    PINGTI_ASSIGN_OR_RETURN((*chat)["tool_choice"], ReadAllowedTools(choice));
  } else {
    PINGTI_ASSIGN_OR_RETURN((*chat)["tool_choice"], ReadNamedTool("tool_choice", choice));
  }
  return absl::OkStatus();
}

absl::Status ReadText(const json::value& value, json::object* chat) {
  PINGTI_ASSIGN_OR_RETURN(const json::object* text, RequireObject("text", value));
  const json::value* format_value = text->if_contains("format");
  if (format_value == nullptr) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(const json::object* object, RequireObject("text.format", *format_value));
  json::object format = *object;
  PINGTI_RETURN_IF_ERROR(RequireString("text.format", format, "type"));
  if (format.at("type") == "json_schema") {
    format.erase("type");
    format = json::object{{"type", "json_schema"}, {"json_schema", std::move(format)}};
  }
  (*chat)["response_format"] = std::move(format);
  return absl::OkStatus();
}

// What may be asked for beside the answer itself. All but one are parts of what tools that cannot
// run here would give, or of thoughts, which are plain text here.
absl::Status ReadInclude(const json::object& body, json::object* chat, IgnoredFields* ignored) {
  bool logprobs = false;
  if (const json::value* include = body.if_contains("include")) {
    if (!include->is_array()) return WrongType("include", *include, "an array");
    for (size_t i = 0; i < include->get_array().size(); ++i) {
      std::string name;
      PINGTI_RETURN_IF_ERROR(
          ReadString(Concat("include[", i, "]"), include->get_array()[i], &name));
      if (name == "message.output_text.logprobs") {
        logprobs = true;
      } else {
        ignored->Add(IsPlainName(name) ? Concat("include[", name, "]") : "include[*]");
      }
    }
  }
  const json::value* top = body.if_contains("top_logprobs");
  if (top != nullptr) (*chat)["top_logprobs"] = *top;
  if (logprobs || (top != nullptr && *top != 0)) (*chat)["logprobs"] = true;
  return absl::OkStatus();
}

absl::Status ReadMetadata(const json::value& value) {
  constexpr size_t kMaxPairs = 16;
  constexpr size_t kMaxKey = 64;
  constexpr size_t kMaxValue = 512;
  PINGTI_ASSIGN_OR_RETURN(const json::object* pairs, RequireObject("metadata", value));
  if (pairs->size() > kMaxPairs) {
    return FieldError("metadata", Concat("'metadata' has ", pairs->size(),
                                         " members, expected at most ", kMaxPairs));
  }
  for (const auto& member : *pairs) {
    const std::string path = Concat("metadata.", View(member.key()));
    if (!member.value().is_string()) return WrongType(path, member.value(), "a string");
    if (member.key().size() > kMaxKey || member.value().get_string().size() > kMaxValue) {
      return FieldError(path, Concat("'", path, "' is too long: keys have at most ", kMaxKey,
                                     " bytes, values ", kMaxValue));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadReasoning(const json::value& value, json::object* chat) {
  PINGTI_ASSIGN_OR_RETURN(const json::object* reasoning, RequireObject("reasoning", value));
  const json::value* effort = reasoning->if_contains("effort");
  if (effort != nullptr) (*chat)["reasoning_effort"] = *effort;
  return absl::OkStatus();
}

absl::StatusOr<json::object> ToChat(const json::object& body, IgnoredFields* ignored) {
  json::object chat = CopyFields(body, kSameFields);
  const json::value* options = body.if_contains("stream_options");
  if (options != nullptr) {
    PINGTI_RETURN_IF_ERROR(RequireObject("stream_options", *options).status());
  }
  if (const json::value* limit = body.if_contains("max_output_tokens")) {
    int64_t number = 0;
    PINGTI_RETURN_IF_ERROR(ReadInteger("max_output_tokens", *limit, 1, INT32_MAX, &number));
    chat["max_completion_tokens"] = number;
  }
  if (const json::value* tools = body.if_contains("tools")) {
    PINGTI_RETURN_IF_ERROR(ReadTools(*tools, &chat, ignored));
  }
  if (const json::value* choice = body.if_contains("tool_choice")) {
    PINGTI_RETURN_IF_ERROR(ReadToolChoice(*choice, &chat));
  }
  if (const json::value* text = body.if_contains("text")) {
    PINGTI_RETURN_IF_ERROR(ReadText(*text, &chat));
  }
  if (const json::value* metadata = body.if_contains("metadata")) {
    PINGTI_RETURN_IF_ERROR(ReadMetadata(*metadata));
  }
  if (const json::value* reasoning = body.if_contains("reasoning")) {
    PINGTI_RETURN_IF_ERROR(ReadReasoning(*reasoning, &chat));
  }
  PINGTI_RETURN_IF_ERROR(ReadInclude(body, &chat, ignored));
  const json::value* input = body.if_contains("input");
  if (input == nullptr) return MissingField("input");
  PINGTI_ASSIGN_OR_RETURN(chat["messages"],
                          ItemsToMessages(*input, body.if_contains("instructions"), ignored));
  return chat;
}

std::string EchoOf(const json::object& body) {
  struct Echo {
    const char* name;
    const char* absent;
  };
  constexpr Echo kEchoes[] = {{"instructions", "null"},
                              {"max_output_tokens", "null"},
                              {"metadata", "{}"},
                              {"parallel_tool_calls", "true"},
                              {"temperature", "null"},
                              {"text", "{\"format\":{\"type\":\"text\"}}"},
                              {"tool_choice", "\"auto\""},
                              {"tools", "[]"},
                              {"top_logprobs", "0"},
                              {"top_p", "null"},
                              {"user", "null"}};
  std::string out =
      "\"background\":false,\"max_tool_calls\":null,\"previous_response_id\":null,"
      "\"reasoning\":{\"effort\":null,\"summary\":null},\"service_tier\":\"default\","
      "\"store\":false,\"truncation\":\"disabled\"";
  for (const Echo& echo : kEchoes) {
    const json::value* value = body.if_contains(echo.name);
    out += Concat(",\"", std::string_view(echo.name),
                  "\":", value == nullptr ? std::string(echo.absent) : json::serialize(*value));
  }
  return out;
}

}  // namespace

absl::Status InResponsesWords(const absl::Status& status) {
  return RenameFields(status, kFieldNames);
}

absl::StatusOr<ParsedResponse> ParseResponsesRequest(std::string_view text) {
  PINGTI_ASSIGN_OR_RETURN(json::object body, ParseJsonObject(text));
  IgnoredFields ignored;
  PINGTI_RETURN_IF_ERROR(CleanBody(ResponsesFields(), &body, &ignored));
  PINGTI_ASSIGN_OR_RETURN(json::object chat, ToChat(body, &ignored));
  absl::StatusOr<ParsedRequest> parsed =
      ParseChatObject(std::move(chat), text.size(), std::move(ignored));
  if (!parsed.ok()) return InResponsesWords(parsed.status());
  return ParsedResponse{*std::move(parsed), EchoOf(body)};
}

}  // namespace pingti::router
