// See parse.h. The body is rewritten into that of a chat, which has the checks of all fields both
// have.
#include "router/responses/parse.h"

#include <algorithm>
#include <array>
#include <utility>

#include "boost/json.hpp"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/openai/json_fields.h"
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
                                            "service_tier",
                                            "store",
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
                                            "priority",
                                            "chat_template_kwargs"};

constexpr std::string_view kReadHere[] = {
    "input",     "instructions",   "include",      "max_output_tokens", "text",
    "tools",     "tool_choice",    "top_logprobs", "truncation",        "metadata",
    "reasoning", "stream_options", "background"};

struct Refusal {
  std::string_view name;
  std::string_view why;
};
constexpr std::string_view kNothingStored =
    "this router keeps nothing; send the whole conversation";
constexpr Refusal kRefusals[] = {
    {"previous_response_id", kNothingStored},
    {"conversation", kNothingStored},
    {"background_options", "answers are given while the client waits"},
    {"context_management", "the conversation is taken as it is sent"},
    {"max_tool_calls", "there are no built-in tools"},
    {"moderation", "answers are not moderated"},
    {"prompt", "there are no stored prompts"},
    {"prompt_cache_key", "prefixes are cached without a key"},
    {"prompt_cache_options", "prefixes are cached as long as there is room"},
    {"prompt_cache_retention", "prefixes are cached as long as there is room"},
    {"safety_identifier", "use 'user'"},
};

constexpr FieldName kFieldNames[] = {{"max_completion_tokens", "max_output_tokens"},
                                     {"max_tokens", "max_output_tokens"},
                                     {"response_format.json_schema", "text.format"},
                                     {"response_format", "text.format"},
                                     {"tools[].function", "tools[]"},
                                     {"messages", "input"}};

template <typename List>
bool IsIn(std::string_view name, const List& list) {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

absl::Status CheckNames(const json::object& body) {
  for (const auto& member : body) {
    const std::string_view name = View(member.key());
    if (IsIn(name, kSameFields) || IsIn(name, kReadHere)) continue;
    for (const Refusal& refusal : kRefusals) {
      if (name == refusal.name) return UnsupportedField(name, refusal.why);
    }
    return ApiError(absl::StatusCode::kInvalidArgument,
                    Concat("Unrecognized request argument supplied: ", name), name,
                    "unknown_parameter");
  }
  return absl::OkStatus();
}

absl::Status ReadTools(const json::value& value, json::object* chat) {
  static constexpr std::array<std::string_view, 5> kKnown = {"type", "name", "description",
                                                             "parameters", "strict"};
  if (!value.is_array()) return WrongType("tools", value, "an array");
  json::array tools;
  for (size_t i = 0; i < value.get_array().size(); ++i) {
    const std::string path = Concat("tools[", i, "]");
    const json::value& entry = value.get_array()[i];
    if (!entry.is_object()) return WrongType(path, entry, "an object");
    json::object function = entry.get_object();
    PINGTI_RETURN_IF_ERROR(RequireString(path, function, "type"));
    const std::string_view type = View(function.at("type").get_string());
    if (type != "function") {
      return UnsupportedField(path + ".type", Concat("'", type, "'; expected 'function'"));
    }
    PINGTI_RETURN_IF_ERROR(RefuseUnknown(path, function, kKnown));
    PINGTI_RETURN_IF_ERROR(RequireString(path, function, "name"));
    function.erase("type");
    DropNulls(&function);
    tools.push_back(json::object{{"type", "function"}, {"function", std::move(function)}});
  }
  (*chat)["tools"] = std::move(tools);
  return absl::OkStatus();
}

absl::Status ReadToolChoice(const json::value& value, json::object* chat) {
  static constexpr std::array<std::string_view, 2> kKnown = {"type", "name"};
  if (!value.is_object()) {
    (*chat)["tool_choice"] = value;
    return absl::OkStatus();
  }
  const json::object& choice = value.get_object();
  PINGTI_RETURN_IF_ERROR(RequireString("tool_choice", choice, "type"));
  const std::string_view type = View(choice.at("type").get_string());
  if (type != "function") {
    return UnsupportedField("tool_choice.type", Concat("'", type, "'; expected 'function'"));
  }
  PINGTI_RETURN_IF_ERROR(RefuseUnknown("tool_choice", choice, kKnown));
  PINGTI_RETURN_IF_ERROR(RequireString("tool_choice", choice, "name"));
  (*chat)["tool_choice"] =
      json::object{{"type", "function"}, {"function", json::object{{"name", choice.at("name")}}}};
  return absl::OkStatus();
}

absl::Status ReadText(const json::value& value, json::object* chat) {
  static constexpr std::array<std::string_view, 2> kKnown = {"format", "verbosity"};
  if (!value.is_object()) return WrongType("text", value, "an object");
  json::object text = value.get_object();
  DropNulls(&text);
  PINGTI_RETURN_IF_ERROR(RefuseUnknown("text", text, kKnown));
  if (text.contains("verbosity")) {
    return UnsupportedField("text.verbosity", "the model has no such switch");
  }
  const json::value* format_value = text.if_contains("format");
  if (format_value == nullptr) return absl::OkStatus();
  if (!format_value->is_object()) return WrongType("text.format", *format_value, "an object");
  json::object format = format_value->get_object();
  PINGTI_RETURN_IF_ERROR(RequireString("text.format", format, "type"));
  if (format.at("type") == "json_schema") {
    format.erase("type");
    DropNulls(&format);
    format = json::object{{"type", "json_schema"}, {"json_schema", std::move(format)}};
  }
  (*chat)["response_format"] = std::move(format);
  return absl::OkStatus();
}

// What may be asked for beside the answer itself.
absl::Status ReadInclude(const json::object& body, json::object* chat) {
  bool logprobs = false;
  if (const json::value* include = body.if_contains("include")) {
    if (!include->is_array()) return WrongType("include", *include, "an array");
    for (size_t i = 0; i < include->get_array().size(); ++i) {
      const std::string path = Concat("include[", i, "]");
      std::string name;
      PINGTI_RETURN_IF_ERROR(ReadString(path, include->get_array()[i], &name));
      if (name == "reasoning.encrypted_content") {
        return UnsupportedField(path, "reasoning comes, and is taken back, as plain text");
      }
      if (name != "message.output_text.logprobs") {
        return UnsupportedField(path,
                                Concat("'", name, "'; expected 'message.output_text.logprobs'"));
      }
      logprobs = true;
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
  if (!value.is_object()) return WrongType("metadata", value, "an object");
  if (value.get_object().size() > kMaxPairs) {
    return FieldError("metadata", Concat("'metadata' has ", value.get_object().size(),
                                         " members, expected at most ", kMaxPairs));
  }
  for (const auto& member : value.get_object()) {
    const std::string path = Concat("metadata.", View(member.key()));
    if (!member.value().is_string()) return WrongType(path, member.value(), "a string");
    if (member.key().size() > kMaxKey || member.value().get_string().size() > kMaxValue) {
      return FieldError(path, Concat("'", path, "' is too long: keys have at most ", kMaxKey,
                                     " bytes, values ", kMaxValue));
    }
  }
  return absl::OkStatus();
}

// Fields of which only the value that changes nothing is taken.
absl::Status CheckSwitches(const json::object& body) {
  static constexpr std::array<std::string_view, 1> kStreamOptions = {"include_obfuscation"};
  if (const json::value* truncation = body.if_contains("truncation")) {
    if (*truncation != "disabled") {
      return UnsupportedField("truncation", "expected 'disabled': nothing is left out unasked");
    }
  }
  const json::value* background = body.if_contains("background");
  if (background != nullptr && *background != false) {
    return UnsupportedField("background",
                            "expected false: answers are given while the client waits");
  }
  if (const json::value* reasoning = body.if_contains("reasoning")) {
    if (!reasoning->is_object()) return WrongType("reasoning", *reasoning, "an object");
    for (const auto& member : reasoning->get_object()) {
      if (member.value().is_null()) continue;
      return UnsupportedField(Concat("reasoning.", View(member.key())),
                              "use 'chat_template_kwargs' if the model's template has a switch");
    }
  }
  const json::value* options = body.if_contains("stream_options");
  if (options == nullptr) return absl::OkStatus();
  if (!options->is_object()) return WrongType("stream_options", *options, "an object");
  return RefuseUnknown("stream_options", options->get_object(), kStreamOptions);
}

absl::StatusOr<json::object> ToChat(const json::object& body) {
  json::object chat;
  for (const std::string_view name : kSameFields) {
    const json::string_view key(name.data(), name.size());
    if (const json::value* value = body.if_contains(key)) chat[key] = *value;
  }
  PINGTI_RETURN_IF_ERROR(CheckSwitches(body));
  if (const json::value* options = body.if_contains("stream_options")) {
    chat["stream_options"] = *options;
  }
  if (const json::value* limit = body.if_contains("max_output_tokens")) {
    int64_t number = 0;
    PINGTI_RETURN_IF_ERROR(ReadInteger("max_output_tokens", *limit, 1, INT32_MAX, &number));
    chat["max_completion_tokens"] = number;
  }
  if (const json::value* tools = body.if_contains("tools")) {
    PINGTI_RETURN_IF_ERROR(ReadTools(*tools, &chat));
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
  PINGTI_RETURN_IF_ERROR(ReadInclude(body, &chat));
  const json::value* input = body.if_contains("input");
  if (input == nullptr) return MissingField("input");
  PINGTI_ASSIGN_OR_RETURN(chat["messages"],
                          ItemsToMessages(*input, body.if_contains("instructions")));
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
  DropNulls(&body);
  PINGTI_RETURN_IF_ERROR(CheckNames(body));
  PINGTI_ASSIGN_OR_RETURN(json::object chat, ToChat(body));
  absl::StatusOr<ParsedRequest> parsed = ParseChatObject(std::move(chat), text.size());
  if (!parsed.ok()) return InResponsesWords(parsed.status());
  return ParsedResponse{*std::move(parsed), EchoOf(body)};
}

}  // namespace pingti::router
